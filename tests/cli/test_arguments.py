"""The command line: methods without leaks, arguments in any order, configs that repeat a run, output that scripts can read."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tacit.command import build_parser, parse
from tacit.core.models import ModelRef
from tacit.distill.objectives import DISTILLERS
from tacit.synthesize import BNS, CMI, METHODS, DeepInversion, Method
from tacit.verbs.distill import Distill
from tacit.verbs.quantize import Quantize
from tacit.verbs.synthesize import Synthesize

Tacit = Callable[..., subprocess.CompletedProcess[str]]
Command = Callable[..., tuple[int, str, str]]


def parsed(*words: str) -> Synthesize:
    verb = parse("synthesize", ["--teacher", "somewhere", *words])
    assert isinstance(verb, Synthesize)
    return verb


@pytest.mark.parametrize("kind", METHODS)
def test_a_method_alone_equals_its_defaults(kind: type[Method]) -> None:
    assert parsed("--method", kind.__name__).method == kind()


@pytest.mark.parametrize("kind", METHODS)
def test_no_field_of_a_configs_method_leaks_into_another(kind: type[Method], tmp_path: Path) -> None:
    for other in (kind, METHODS[METHODS.index(kind) - 1]):
        path = tmp_path / f"{other.__name__}.yaml"
        path.write_text(f"method:\n  class_path: {other.__name__}\n  init_args:\n    warmup: 9\n    batch: 7\n")
        kept = kind(warmup=9, batch=7) if other is kind else kind()
        assert parsed("--config", str(path), "--method", kind.__name__).method == kept
        assert parsed("--method", kind.__name__, "--config", str(path)).method == kept


def test_a_method_and_its_fields_may_come_in_any_order() -> None:
    wanted = CMI(adv=2.0, steps=7)
    assert parsed("--method", "CMI", "--method.adv", "2", "--method.steps=7").method == wanted
    assert parsed("--method.adv", "2", "--method.steps=7", "--method", "CMI").method == wanted


def test_options_of_a_method_that_source_names_are_its_own() -> None:
    verb = parse("distill", ["--teacher", "a", "--student", "b", "--source", "cmi", "--method.contrast", "0.3"])
    assert isinstance(verb, Distill)
    assert verb.method == CMI(contrast=0.3)
    small = parse("quantize", ["--model", "a", "--source", "bns", "--method.steps", "7"])
    assert isinstance(small, Quantize)
    assert small.method == BNS(steps=7)


def test_a_config_may_name_a_method_shortly_and_its_fields_may_be_overridden(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("teacher: there\nmethod:\n  class_path: DeepInversion\n  init_args:\n    lr: 1e-3\nimages: 5\n")
    verb = parse("synthesize", ["--config", str(path), "--method.steps", "9"])
    assert isinstance(verb, Synthesize)
    assert verb.method == DeepInversion(lr=1e-3, steps=9)
    assert verb.images == 5


def test_dashes_and_underscores_are_alike_and_flags_need_no_value() -> None:
    assert parsed("--max-seconds", "3").max_seconds == parsed("--max_seconds=3").max_seconds == 3
    assert parsed("--resume").resume
    assert parsed("--resume", "true", "--overwrite", "false").resume
    assert not parsed("--overwrite=false").overwrite


def test_training_options_reach_the_verb() -> None:
    verb = parse("distill", ["--teacher", "a", "--student", "b", "--training.lr", "1e-3", "--objective", "kd=1,ce=0.1"])
    assert isinstance(verb, Distill)
    assert verb.training.lr == 1e-3
    assert verb.objective == "kd=1,ce=0.1"


def test_the_module_is_the_command(tacit: Tacit) -> None:
    done = subprocess.run([sys.executable, "-m", "tacit", "--version"], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout == tacit("--version").stdout


def test_help_is_quick_and_names_all_verbs(tacit: Tacit) -> None:
    out = tacit("--help").stdout
    for verb in ("demo", "train", "inspect", "synthesize", "distill", "evaluate", "compare", "report", "export"):
        assert f"  {verb} " in out
    listed = tacit("synthesize", "--help").stdout
    assert "--method" in listed
    assert "How many samples;" in listed


def test_help_shows_a_verb_s_own_options_first_and_says_nothing_twice() -> None:
    shown = build_parser("quantize").format_help()
    headings = [line for line in shown.splitlines() if line and not line.startswith((" ", "usage"))]
    assert headings[0] == "options:"
    assert headings[1].startswith("Give a network fewer bits")
    assert headings[-1] == "Where and how it runs:"
    assert shown.index("--mixup") < shown.index("--engine") < shown.index("--log_every") < shown.index("--seed")
    text = " ".join(shown.split())
    assert "type:" not in text
    assert "--images N How many images there are to learn from. (default: 512)" in text
    assert "--baselines {true,false} " in text
    assert "(default: true)" in text
    assert "--training.optimizer {sgd,adam,adamw} " in text
    assert "One of DeepInversion, AdaptiveDeepInversion, " in text
    assert "not given: runs/<verb>, or the next free number. --resume" in text  # no "(default: null)"
    own = build_parser("export").format_help()
    assert "imagefolder: PNG files with labels or masks and metadata.jsonl, for Hugging Face datasets; onnx:" in " ".join(own.split())
    assert "(required)" in own
    assert "Where and how it runs" not in own


@pytest.mark.parametrize("verb", ["distill", "quantize"])
def test_the_help_of_the_objective_names_all_losses(verb: str) -> None:
    assert f"Losses: {', '.join(DISTILLERS)}, or package.module:Class." in " ".join(build_parser(verb).format_help().split())


def test_the_help_of_a_method_shows_its_fields(tacit: Tacit) -> None:
    shown = tacit("synthesize", "--method.help", "DeepInversion").stdout
    assert "Weight of BN alignment." in shown
    assert "type:" not in shown


def test_unknown_verbs_are_refused_with_the_nearest_name(command: Command) -> None:
    assert command("distil")[::2] == (2, "tacit: no verb is called 'distil'; did you mean 'distill'?; `tacit --help` lists them\n")


def test_other_failures_exit_with_one_and_debug_shows_where(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(self: Synthesize) -> None:
        raise ZeroDivisionError("inner\nmatters")

    monkeypatch.setattr(Synthesize, "run", broken)
    code, _, err = command("synthesize", "--teacher", "x")
    assert code == 1
    assert err == "tacit: ZeroDivisionError: inner (`--debug` shows where)\n"
    assert "Traceback" in command("synthesize", "--teacher", "x", "--debug")[2]


def test_a_runs_config_repeats_the_run_bit_by_bit(command: Command, tmp_path: Path, teacher_folder: Path) -> None:
    student = ("--student", "tacit.zoo:resnet", "--student.kwargs", '{"channels": 1, "width": 2}')
    method = (
        "--method",
        "CMI",
        "--method.steps",
        "3",
        "--method.batch",
        "32",
        "--method.every",
        "4",
        "--method.width",
        "4",
    )
    words = ("--teacher", str(teacher_folder), *student, *method, "--training.steps", "9", "--training.batch", "16", "--seed", "3")
    code, out, _ = command("distill", *words, "--out", "one", "--json")
    assert code == 0
    result = json.loads(out)
    assert result == json.loads((tmp_path / "one" / "result.json").read_text())
    assert command("distill", "--config", "one/config.yaml", "--out", "two")[0] == 0
    assert (tmp_path / "one" / "config.yaml").read_text() == (tmp_path / "two" / "config.yaml").read_text()
    for file in ("model/weights.safetensors", "pool/pool.json"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_no_field_of_a_configs_model_leaks_into_another(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("student:\n  path: old:model\n  weights: old.pt\n  kwargs: {depth: 20}\n")
    kept = parse("distill", ["--teacher", "t", "--config", str(path), "--student", "old:model"])
    other = parse("distill", ["--teacher", "t", "--config", str(path), "--student", "new:model"])
    assert isinstance(kept, Distill)
    assert isinstance(other, Distill)
    assert kept.student == ModelRef(path="old:model", weights=Path("old.pt"), kwargs={"depth": 20})
    assert other.student == ModelRef(path="new:model")
