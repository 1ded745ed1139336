"""Verb: what all verbs have in common.

A verb is a frozen dataclass of options that runs; the command line and the Python call are both made of it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, ClassVar, ParamSpec

import torch
from torch.utils.data import Dataset

from tacit.core.chosen import Chosen
from tacit.core.device import Clock, Precision, Runtime
from tacit.core.errors import InputError
from tacit.core.models import ModelRef, model_hash
from tacit.core.network import Ensemble, Network, count_parameters, work_per_image
from tacit.core.run import Run, free_folder, make_result
from tacit.core.spec import Spec, check_names
from tacit.data import Data, ImageSet, Modality, StreamedSet, Views, load_data

__all__ = [
    "DataLike",
    "LaunchVerb",
    "ModelLike",
    "Outcome",
    "RunVerb",
    "Verb",
    "as_function",
    "check_pair",
    "data_option",
    "find_model",
    "load_for",
    "model_option",
    "view_option",
]

ModelLike = Network | ModelRef | str | Path | Sequence[Network | ModelRef | str | Path]
"""A network, a `ModelRef`, a folder or import path; or several of those, which make an ensemble."""
DataLike = str | Data | Dataset[Any]
"""``digits``, a Hugging Face id or folder, ``package.module:callable``, or a set in memory."""

P = ParamSpec("P")


def model_option(*, required: bool = False) -> Any:
    """Declare a field that the command line fills with a `ModelRef`."""
    return field(metadata={"cli": ModelRef}) if required else field(default=None, metadata={"cli": ModelRef})


def data_option() -> Any:
    """Declare a field that the command line fills with the name of a data set."""
    return field(default=None, metadata={"cli": str | None})


def view_option() -> Any:
    """Declare a field that the command line fills with the name of a view, or of two."""
    return field(default=None, metadata={"cli": str | None})


def find_model(model: ModelLike, default: Spec | None = None, *, seed: int | None = None) -> Network:
    """Return the network that `model` names, checked; a network itself is checked and returned."""
    if isinstance(model, Network):
        return model.check()
    if isinstance(model, list | tuple) and not all(isinstance(member, str | Path) for member in model):
        return Ensemble.of([find_model(member, default, seed=seed) for member in model]).check()
    if isinstance(model, torch.nn.Module):
        raise InputError(f"wrap your {type(model).__name__} as tacit.Network(module, tacit.Spec(shape=..., classes=...))")
    if not isinstance(model, ModelRef):
        model = ModelRef(path=str(model) if isinstance(model, str | Path) else [str(path) for path in model])
    return model.load(default, seed=seed)


def load_for(spec: Spec, data: DataLike, split: str, view: Modality | None = None) -> Data:
    """Return `split` of `data`, as images that a network of `spec` can be shown, or of which it can be shown its view."""
    if view is None:
        return load_data(data, split, spec)
    stored = view.stored(spec)
    try:
        return load_data(data, split, stored)
    except InputError as error:
        raise InputError(f"{error} (view {view.name}: {list(spec.shape)} is seen of images of shape {list(stored.shape)})") from error


def check_pair(teacher: Spec, student: Spec, views: Views | None = None) -> None:
    """Raise `InputError` where a student does not take what its teacher takes, or its own view of that, or say what its teacher says."""
    wanted = teacher if views is None else views.student_spec(teacher)
    for key in ("shape", "classes", "task"):
        theirs, ours = getattr(wanted, key), getattr(student, key)
        if theirs != ours:
            whose = f"that of its view ({views.student.name})" if views is not None and key == "shape" else "the teacher's"
            raise InputError(f"the student's {key} must be {whose}: expected {theirs}, got {ours}")
    check_names(teacher.names, student.names, "teacher and student")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a verb brought about.

    Args:
        folder: The run folder, or the file or folder that was written.
        result: As in result.json; other facts for verbs without a run.
        rows: The table that the command line prints.
        network: The student, or the trained network.
        text: Printed above the table, as it stands.
    """

    folder: Path | None
    result: dict[str, Any]
    rows: list[tuple[str, str]]
    network: Network | None = None
    text: str = ""

    @property
    def metrics(self) -> dict[str, Any]:
        """The measured figures."""
        found: dict[str, Any] = self.result.get("metrics", {})
        return found


@dataclass(frozen=True, kw_only=True)
class Verb:
    """Options of every verb."""

    name: ClassVar[str]

    def run(self) -> Outcome:
        """Do the work."""
        raise NotImplementedError

    def config(self) -> dict[str, Any]:
        """Return all options as plain values, as they stand in config.yaml; ``out``, ``resume`` and ``overwrite`` are left out."""
        return {f.name: _plain(getattr(self, f.name)) for f in fields(self) if f.name not in ("out", "resume", "overwrite")}


@dataclass(frozen=True, kw_only=True)
class RunVerb(Verb):
    """Options of every verb that writes a run folder."""

    out: Path | None = None
    """The run folder; not given: runs/<verb>, or the next free number."""
    resume: bool = False
    """Go on from the last checkpoint in `out`, where there is one."""
    overwrite: bool = False
    """Replace a run that is already in `out`."""
    seed: int = 0
    """Of every random draw."""
    device: str = "auto"
    """auto, cpu, cuda, mps, ..."""
    precision: Precision = "auto"
    """32-true, bf16-mixed, or auto: bf16 where the device computes in it and the model is not small, else fp32."""

    free: ClassVar[tuple[str, ...]] = ()
    """Options of this verb that may change when a run is resumed."""

    def __post_init__(self) -> None:
        if self.seed < 0:
            raise InputError(f"seed: expected 0 or more, got {self.seed}")

    def launch(self) -> dict[str, Any]:
        """Return what else a `Runtime` is told, by verbs that can use several devices."""
        return {}

    def open_runtime(self, *networks: Network | None) -> Runtime:
        """Start the device; move the networks there, by the largest of which precision and threads are chosen."""
        present = [network for network in networks if network is not None]
        work = max((work_per_image(network) for network in present), default=None)
        runtime = Runtime(self.device, self.precision, work=work, **self.launch())
        for network in present:
            runtime.place(network)
        torch.manual_seed(self.seed)
        return runtime

    def plan_run(self) -> Run:
        """Return the run, having checked that it can be written; nothing is written yet."""
        folder = Path(self.out) if self.out is not None else free_folder(self.name)
        Run.check(folder, resume=self.resume, overwrite=self.overwrite)
        return Run(folder, self.name, self.config(), free=self.free)

    def open_run(self, run: Run, runtime: Runtime) -> dict[str, Any] | None:
        """Make the run folder; return the checkpoint where a run is resumed. Processes after the first keep theirs in ``rank1/`` ..."""
        rank = runtime.fabric.global_rank
        if rank:
            runtime.fabric.barrier()
            run.folder = run.folder / f"rank{rank}"
        state = run.open(resume=self.resume, overwrite=self.overwrite)
        if not rank:
            runtime.fabric.barrier()
        return state

    def result(
        self, runtime: Runtime, clock: Clock, metrics: Mapping[str, Any], *, images: int | None, selection: str | None
    ) -> dict[str, Any]:
        """Return the whole of result.json; metrics that do not apply become null."""
        return make_result(self.name, clock, metrics, seed=self.seed, runtime=runtime, images=images, selection=selection)


@dataclass(frozen=True, kw_only=True)
class LaunchVerb(RunVerb):
    """Options of the verbs that can use several devices."""

    devices: int = 1
    """Number of devices on each machine."""
    num_nodes: int = 1
    """Number of machines."""
    strategy: str = "auto"
    """Lightning Fabric's strategy, as ddp."""
    at_once: int | None = None
    """Where images are made and memory is short: most of them in one pass through the teacher, at the cost of a second pass. Statistics are
    those of the whole batch all the same. Not given: the whole batch."""
    max_seconds: float | None = None
    """Stop after this many seconds of synthesis and training; a learning rate then falls with the time. A round of synthesis that has begun
    is finished."""
    checkpoint_seconds: float = 30.0
    """Seconds between checkpoints; more, where one takes more than a twentieth of that."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.devices < 1 or self.num_nodes < 1:
            raise InputError(f"devices and num_nodes: expected at least 1, got {self.devices} and {self.num_nodes}")
        if self.at_once is not None and self.at_once < 1:
            raise InputError(f"at_once: expected at least 1, got {self.at_once}")
        if self.max_seconds is not None and not self.max_seconds > 0:
            raise InputError(f"max_seconds: expected more than 0, got {self.max_seconds}")
        if not self.checkpoint_seconds >= 0:
            raise InputError(f"checkpoint_seconds: expected 0 or more, got {self.checkpoint_seconds}")

    def launch(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ("devices", "num_nodes", "strategy", "at_once")}


def _plain(value: Any) -> Any:
    if isinstance(value, Network):
        return {"path": None, "class": type(value.model).__qualname__, "parameters": count_parameters(value), "sha256": model_hash(value)}
    if isinstance(value, ImageSet | StreamedSet):
        return f"{len(value)} images given in Python"
    if isinstance(value, Chosen):
        return _plain(value.config())
    if isinstance(value, ModelRef):
        return {key: _plain(item) for key, item in asdict(value).items() if item not in (None, {})}
    if is_dataclass(value) and not isinstance(value, type):
        return {key: _plain(item) for key, item in asdict(value).items()}
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, Path):
        return str(value)
    return value if value is None or isinstance(value, str | int | float | bool) else f"{type(value).__qualname__} given in Python"


def as_function(verb: Callable[P, Verb]) -> Callable[P, Outcome]:
    """Return the function ``f(**options)`` that builds the verb and runs it, with the verb's own signature and text."""

    def call(*args: P.args, **kwargs: P.kwargs) -> Outcome:
        return verb(*args, **kwargs).run()

    call.__name__ = call.__qualname__ = getattr(verb, "name", "verb")
    call.__doc__ = inspect.getdoc(verb)
    call.__signature__ = inspect.signature(verb).replace(return_annotation=Outcome)  # type: ignore[attr-defined]
    return call
