"""Run folders: when they may be written, what they hold, and that a resumed log has no line too many."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import torch

from tacit.core.errors import InputError
from tacit.core.run import METRICS, Run, check_result, free_folder, read_config, versions
from tacit.synthesize import Gaussian
from tacit.verbs.distill import Distill

CONFIG = {
    "seed": 3,
    "method": {"class_path": "tacit.synthesize.cmi.CMI", "init_args": {"contrast": 0.8}},
    "text": "grün: [no]",
    "none": None,
}


def opened(folder: Path, *, resume: bool = False, overwrite: bool = False, **changed: Any) -> tuple[Run, dict[str, Any] | None]:
    run = Run(folder, "distill", {**CONFIG, **changed})
    return run, run.open(resume=resume, overwrite=overwrite)


def lines(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def a_result(**metrics: Any) -> dict[str, Any]:
    return {
        "schema": 1, "verb": "distill", "seed": 0, "seconds": {"synthesis": 1.0, "training": 2.0, "evaluation": 0.5, "total": 3.5},
        "images_synthesized": 4, "peak_memory_mb": 100.0, "peak_cuda_memory_mb": None, "device": "cpu", "precision": "32-true",
        "versions": versions(), "selection": "last", "metrics": {**dict.fromkeys(METRICS), **metrics},
    }  # fmt: skip


def test_a_config_comes_back_from_its_file(tmp_path: Path) -> None:
    run, state = opened(tmp_path / "a" / "run")
    assert state is None
    assert read_config(run.folder) == CONFIG
    assert Run.is_run(run.folder)
    assert lines(run.folder) == []


def test_a_folder_that_is_not_empty_is_refused_and_untouched(tmp_path: Path) -> None:
    run, _ = opened(tmp_path / "run")
    run.log(1, {"loss": 2.0}, kind="train")
    run.close()
    before = (run.folder / "metrics.jsonl").read_bytes()
    with pytest.raises(InputError, match="is not empty: go on with `--resume`, replace it with `--overwrite`"):
        opened(run.folder)
    assert (run.folder / "metrics.jsonl").read_bytes() == before


def test_an_empty_folder_is_as_good_as_none(tmp_path: Path) -> None:
    assert opened(tmp_path)[1] is None


def test_overwrite_removes_what_a_run_left(tmp_path: Path) -> None:
    run, _ = opened(tmp_path / "run")
    run.log(1, {"loss": 2.0}, kind="train")
    run.checkpoint(1, {"x": 1})
    run.close()
    run, state = opened(run.folder, overwrite=True, seed=4)
    assert state is None
    assert sorted(path.name for path in run.folder.iterdir()) == ["config.yaml", "metrics.jsonl"]
    assert read_config(run.folder)["seed"] == 4


@pytest.mark.parametrize("flags", [{"overwrite": True}, {"resume": True}, {}])
@pytest.mark.parametrize("config", [None, "seed: 3\n"])
def test_a_foreign_folder_is_refused_even_with_overwrite(flags: dict[str, bool], config: str | None, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    if config is not None:
        (tmp_path / "config.yaml").write_text(config)
    with pytest.raises(InputError, match="is not empty"):
        opened(tmp_path, **flags)
    assert (tmp_path / "thesis.tex").read_text() == "years of work"


def test_a_file_in_the_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(InputError, match="is a file, expected a folder"):
        opened(tmp_path / "run", overwrite=True)


def test_a_folder_that_can_not_be_written_is_refused_before_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(InputError, match="is not writable"):
        Run.check(tmp_path / "new" / "run", resume=False, overwrite=False)
    assert not (tmp_path / "new").exists()


def test_check_touches_nothing(tmp_path: Path) -> None:
    Run.check(tmp_path / "new" / "run", resume=True, overwrite=True)
    assert list(tmp_path.iterdir()) == []


def test_resume_gives_back_the_checkpoint_and_cuts_the_log_to_it(tmp_path: Path) -> None:
    run, _ = opened(tmp_path)
    run.log(1, {"loss": torch.tensor(0.5), "note": "a"}, kind="train")
    run.checkpoint(1, {"weights": torch.arange(3.0), "nested": {"seconds": [1.5]}})
    run.log(2, {"loss": 0.25}, kind="train")
    run.close()
    again, state = opened(tmp_path, resume=True)
    assert state is not None
    assert torch.equal(state["weights"], torch.arange(3.0))
    assert (state["nested"], state["step"], state["threads"]) == ({"seconds": [1.5]}, 1, torch.get_num_threads())
    assert lines(tmp_path) == [{"kind": "train", "step": 1, "loss": 0.5, "note": "a"}]
    again.log(2, {"loss": 0.125}, kind="train")
    again.close()
    assert [line["loss"] for line in lines(tmp_path)] == [0.5, 0.125]


def test_resume_cuts_a_line_that_was_half_written(tmp_path: Path) -> None:
    run, _ = opened(tmp_path)
    run.log(1, {"loss": 1.0}, kind="train")
    run.checkpoint(1, {})
    run.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "tr')
    opened(tmp_path, resume=True)
    assert len(lines(tmp_path)) == 1


def test_resume_with_a_log_shorter_than_the_checkpoint_knew_invents_no_line(tmp_path: Path) -> None:
    run, _ = opened(tmp_path)
    run.log(1, {"loss": 1.0}, kind="train")
    run.checkpoint(1, {})
    run.close()
    (tmp_path / "metrics.jsonl").unlink()
    again, _ = opened(tmp_path, resume=True)
    again.log(2, {"loss": 0.5}, kind="train")
    again.close()
    assert [line["step"] for line in lines(tmp_path)] == [2]


def test_resume_of_nothing_is_a_new_run_and_before_the_first_checkpoint_starts_again(tmp_path: Path) -> None:
    run, state = opened(tmp_path / "run", resume=True)
    assert state is None
    run.log(1, {"loss": 1.0}, kind="train")
    run.close()
    assert opened(tmp_path / "run", resume=True)[1] is None
    assert lines(tmp_path / "run") == []


def test_resume_with_another_config_is_refused_with_the_names(tmp_path: Path) -> None:
    run, _ = opened(tmp_path)
    run.checkpoint(1, {})
    before = (tmp_path / "config.yaml").read_bytes()
    with pytest.raises(InputError, match="was made with another seed, text: give the same"):
        opened(tmp_path, resume=True, seed=4, text="other")
    assert (tmp_path / "config.yaml").read_bytes() == before


def test_a_budget_may_change_on_resume(tmp_path: Path) -> None:
    run, _ = opened(tmp_path, max_seconds=1.0)
    run.checkpoint(1, {})
    assert opened(tmp_path, resume=True, max_seconds=5.0)[1] is not None
    assert read_config(tmp_path)["max_seconds"] == 5.0


def test_the_config_of_a_verb_is_the_same_after_a_round_trip_so_that_it_can_be_resumed(tmp_path: Path) -> None:
    verb = Distill(
        teacher="a/b", student="toy:BNNet", method=Gaussian(batch=8), out=tmp_path, objective=[{"loss": "kd", "temperature": 2.0}]
    )
    run = Run(tmp_path, "distill", verb.config())
    run.open(resume=False, overwrite=False)
    run.checkpoint(0, {})
    assert Run(tmp_path, "distill", verb.config()).open(resume=True, overwrite=False) is not None
    assert not {"out", "resume", "overwrite"} & read_config(tmp_path).keys()


def test_another_number_of_threads_is_said_on_resume(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = opened(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 7)
    run.checkpoint(1, {})
    monkeypatch.undo()
    opened(tmp_path, resume=True)
    assert "the run had 7" in capsys.readouterr().err


def test_the_checkpoint_before_stays_when_a_write_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = opened(tmp_path)
    run.checkpoint(1, {"x": torch.ones(2)})

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(InputError, match="No space left on device"):
            run.checkpoint(2, {"x": torch.zeros(2)})
    _, state = opened(tmp_path, resume=True)
    assert state is not None
    assert (state["step"], state["x"].tolist()) == (1, [1.0, 1.0])


def test_numbers_are_also_written_for_tensorboard(tmp_path: Path) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator  # type: ignore[import-untyped]

    run, _ = opened(tmp_path)
    for step in (1, 2):
        run.log(step, {"loss": 1.0 / step, "note": "words"}, kind="train")
    run.close()
    events = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [(event.step, event.value) for event in events.Scalars("train/loss")] == [(1, 1.0), (2, 0.5)]
    assert events.Tags()["scalars"] == ["train/loss"]


def test_a_result_of_the_right_form_is_written(tmp_path: Path) -> None:
    run, _ = opened(tmp_path)
    run.finish(a_result(student_accuracy=0.5, params_student=10, anything={"more": [1]}))
    assert json.loads((tmp_path / "result.json").read_text())["metrics"]["anything"] == {"more": [1]}


@pytest.mark.parametrize(
    "change",
    [
        {"extra": 1}, {"schema": 2}, {"verb": "dream"}, {"seed": 0.5}, {"images_synthesized": -1}, {"selection": "test_accuracy"},
        {"seconds": {"synthesis": 1.0, "training": 2.0, "total": 3.0}}, {"peak_memory_mb": None}, {"metrics": {}},
    ],
)  # fmt: skip
def test_a_result_of_another_form_is_refused_and_not_written(change: dict[str, Any], tmp_path: Path) -> None:
    run, _ = opened(tmp_path)
    with pytest.raises(jsonschema.ValidationError):
        run.finish({**a_result(), **change})
    assert not (tmp_path / "result.json").exists()


@pytest.mark.parametrize("name", [name for name in METRICS if not name.startswith("params")])
@pytest.mark.parametrize("value", [1.01, -0.1, "0.5"])
def test_a_share_outside_of_zero_to_one_is_refused(name: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        check_result(a_result(**{name: value}))


@pytest.mark.parametrize("name", METRICS)
def test_every_metric_must_be_there_and_may_be_null(name: str) -> None:
    check_result(a_result(**{name: None}))
    result = a_result()
    del result["metrics"][name]
    with pytest.raises(jsonschema.ValidationError, match=name):
        check_result(result)


def test_a_verb_fills_in_null_for_what_it_did_not_measure() -> None:
    from tacit.core.device import Clock, Runtime

    verb = Distill(teacher="a", student="b", seed=5)
    result = verb.result(Runtime("cpu"), Clock(), {"agreement": 0.5}, images=None, selection=None)
    check_result(result)
    assert result["metrics"] == {**dict.fromkeys(METRICS), "agreement": 0.5}
    assert (result["verb"], result["seed"]) == ("distill", 5)


def test_the_next_free_folder_is_numbered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    found = []
    for _ in range(3):
        found.append(free_folder("train"))
        found[-1].mkdir(parents=True)
    assert [folder.as_posix() for folder in found] == ["runs/train", "runs/train-2", "runs/train-3"]
