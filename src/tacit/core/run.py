"""Run: a folder that holds all that one verb did."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import json
import os
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from torch import Tensor

from tacit.core.device import Clock, Runtime, peak_memory_mb
from tacit.core.errors import InputError
from tacit.core.files import read_json, write_file, write_json

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter

__all__ = ["UNTOUCHING", "Run", "check_result", "free_folder", "make_result", "read_config", "versions"]

METRICS = (
    "teacher_accuracy",
    "student_accuracy",
    "student_accuracy_ema",
    "student_accuracy_selected",
    "agreement",
    "agreement_synthetic",
    "params_teacher",
    "params_student",
)
UNTOUCHING = ("checkpoint_seconds", "evaluations", "evaluate_every", "targets", "log_every", "cache_teacher", "workers")
"""Options, of whatever verb, that touch nothing that is learned."""
FREE = ("max_seconds", *UNTOUCHING)
"""Options, of whatever verb, that may change when a run is resumed."""
_MARK = "# tacit run:"


def versions() -> dict[str, str]:
    """Return the versions that a result depends on."""
    names = ("tacit", "torch", "numpy", "safetensors", "lightning-fabric")
    return {"python": sys.version.split()[0], **{name: importlib.metadata.version(name) for name in names}}


@functools.cache
def _schema() -> dict[str, Any]:
    found: dict[str, Any] = read_json(Path(__file__).with_name("result.schema.json"))
    return found


def check_result(result: Mapping[str, Any]) -> None:
    """Raise `jsonschema.ValidationError` where `result` is not as ``core/result.schema.json`` says."""
    import jsonschema

    jsonschema.validate(dict(result), _schema())


def read_config(folder: Path) -> dict[str, Any]:
    """Return the config of a run folder."""
    loaded = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    return dict(loaded or {})


def free_folder(verb: str) -> Path:
    """Return the first of runs/<verb>, runs/<verb>-2, ... that does not exist."""
    base, number = Path("runs") / verb, 1
    while (base if number == 1 else base.with_name(f"{verb}-{number}")).exists():
        number += 1
    return base if number == 1 else base.with_name(f"{verb}-{number}")


class Run:
    """A run folder: config, metrics, checkpoint, result, samples, report.

    Args:
        folder: Where; made when `open` is called.
        verb: Whose run it is.
        config: All fields of the verb but those of the folder itself.
        free: Those, beside the usual ones, that may change when the run is resumed.
    """

    def __init__(self, folder: Path, verb: str, config: Mapping[str, Any], *, free: Iterable[str] = ()) -> None:
        self.folder, self.verb, self.config, self.free = folder, verb, dict(config), (*FREE, *free)
        self._board: SummaryWriter | None = None
        self._step = 0

    @staticmethod
    def check(folder: Path, *, resume: bool, overwrite: bool) -> None:
        """Raise `InputError` where a run can't be written to `folder`; touches nothing."""
        if folder.exists() and not folder.is_dir():
            raise InputError(f"out: {folder} is a file, expected a folder")
        if folder.is_dir() and any(folder.iterdir()):
            if not (resume or overwrite):
                raise InputError(f"out: {folder} is not empty: go on with `--resume`, replace it with `--overwrite`, or choose another")
            if not Run.is_run(folder):
                raise InputError(f"out: {folder} is not empty and was not written by tacit: choose another folder")
        parent = folder
        while not parent.exists():
            parent = parent.parent
        if not parent.is_dir():
            raise InputError(f"out: {parent} is a file, expected a folder")
        if not os.access(parent, os.W_OK | os.X_OK):
            raise InputError(f"out: {parent} is not writable")

    @staticmethod
    def is_run(folder: Path) -> bool:
        """Whether tacit wrote this folder."""
        config = folder / "config.yaml"
        try:
            return config.is_file() and config.read_text(encoding="utf-8").startswith(_MARK)
        except OSError:
            return False

    def open(self, *, resume: bool, overwrite: bool) -> dict[str, Any] | None:
        """Make the folder and write the config; return the last checkpoint where `resume` finds one, with the logs cut back to it."""
        self.check(self.folder, resume=resume, overwrite=overwrite)
        if overwrite and not resume and self.folder.is_dir():
            shutil.rmtree(self.folder)
        state = self._restore() if resume and self.is_run(self.folder) else None
        text = yaml.safe_dump(self.config, sort_keys=False, allow_unicode=True)
        write_file(self.folder / "config.yaml", f"{_MARK} {self.verb}\n{text}")
        (self.folder / "result.json").unlink(missing_ok=True)  # it is not finished any more
        if state is None:
            self._cut(0)
        return state

    def _restore(self) -> dict[str, Any] | None:
        before = read_config(self.folder)
        changed = [key for key in self.config if key not in self.free and _identity(before.get(key)) != _identity(_plain(self.config[key]))]
        if changed:
            raise InputError(f"resume: {self.folder} was made with another {', '.join(changed)}: give the same, or a new `--out`")
        path = self.folder / "checkpoint" / "state.pt"
        if not path.is_file():
            return None
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        if state["threads"] != torch.get_num_threads():
            print(
                f"tacit: resumed with {torch.get_num_threads()} threads, the run had {state['threads']}: "
                "results will differ in the last digits (set OMP_NUM_THREADS)",
                file=sys.stderr,
            )
        self._cut(state["log_bytes"])
        self._step = state["step"]
        return state

    def _cut(self, size: int) -> None:
        path = self.folder / "metrics.jsonl"
        with path.open("ab") as file:
            file.truncate(min(size, file.tell()))

    def log(self, step: int, values: Mapping[str, Any], *, kind: str) -> None:
        """Append one object to metrics.jsonl, and its numbers to TensorBoard under `kind`.

        Args:
            step: Student steps (kinds ``train``, ``evaluation`` and, of a distillation, ``health``) or rounds (kind ``synthesis``) done.
            values: Numbers, or 0-d tensors, by name.
            kind: What was done.
        """
        plain = {key: float(value) if isinstance(value, Tensor) else value for key, value in values.items()}
        try:
            with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps({"kind": kind, "step": step, **plain}) + "\n")
            for key, value in plain.items():
                if isinstance(value, int | float):
                    self.board.add_scalar(f"{kind}/{key}", value, step)
        except OSError as error:
            raise InputError(f"can't write to {self.folder}: {error.strerror}; the last checkpoint is kept") from error

    @property
    def board(self) -> SummaryWriter:
        """The TensorBoard log of this run."""
        if self._board is None:
            from torch.utils.tensorboard import SummaryWriter

            self._board = SummaryWriter(str(self.folder / "tensorboard"), purge_step=self._step or None)
        return self._board

    def checkpoint(self, step: int, state: Mapping[str, Any]) -> None:
        """Write `state` (tensors and plain values) so that the run can go on from here; the one before stays until this one is whole."""
        log = self.folder / "metrics.jsonl"
        whole = {**state, "step": step, "threads": torch.get_num_threads(), "log_bytes": log.stat().st_size}
        buffer = io.BytesIO()
        torch.save(whole, buffer)
        write_file(self.folder / "checkpoint" / "state.pt", buffer.getvalue())

    def finish(self, result: Mapping[str, Any]) -> None:
        """Check `result` against the schema and write result.json."""
        plain = json.loads(json.dumps(result))
        check_result(plain)
        write_json(self.folder / "result.json", plain)
        self.close()

    def close(self) -> None:
        """Close what is open."""
        if self._board is not None:
            self._board.close()
            self._board = None


def _plain(value: Any) -> Any:
    """Return `value` as it comes back from a YAML file."""
    return yaml.safe_load(yaml.safe_dump(value))


def _identity(value: Any) -> Any:
    """Return an option as it is compared on resume: a live model by its class and size, since its weights are in the checkpoint."""
    if isinstance(value, dict) and "sha256" in value and value.get("path", "") is None:
        return {key: item for key, item in value.items() if key != "sha256"}
    return value


def make_result(
    verb: str,
    clock: Clock,
    metrics: Mapping[str, Any],
    *,
    seed: int | None = None,
    runtime: Runtime | None = None,
    images: int | None = None,
    selection: str | None = None,
) -> dict[str, Any]:
    """Return the whole of result.json.

    Args:
        verb: Which one ran.
        clock: Its seconds.
        metrics: What it found; metrics that do not apply become null.
        seed: Of every draw; None where nothing is drawn.
        runtime: Where it ran; None where no network did.
        images: How many were synthesized; None where that is not what the verb does.
        selection: How weights were chosen; None likewise.
    """
    cuda = runtime is not None and runtime.device.type == "cuda"
    return {
        "schema": 1,
        "verb": verb,
        "seed": seed,
        "seconds": clock.report(),
        "images_synthesized": images,
        "peak_memory_mb": peak_memory_mb(),
        "peak_cuda_memory_mb": torch.cuda.max_memory_allocated() / 2**20 if cuda else None,
        "device": runtime.name if runtime is not None else "none",
        "precision": runtime.precision if runtime is not None else "none",
        "versions": versions(),
        "selection": selection,
        "metrics": {**dict.fromkeys(METRICS), **metrics},
    }
