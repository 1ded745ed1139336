"""tacit: make trained networks smaller, faster and shareable without their training data.

The verbs (`tacit.distill(teacher=..., student=...)`) and nouns below are imported when they are first used: `import tacit` is light.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tacit.verbs import VERBS

if TYPE_CHECKING:
    from tacit.core.errors import InputError as InputError
    from tacit.core.loss import Loss as Loss
    from tacit.core.loss import Needs as Needs
    from tacit.core.loss import Objective as Objective
    from tacit.core.loss import View as View
    from tacit.core.models import ModelRef as ModelRef
    from tacit.core.models import load as load
    from tacit.core.models import save as save
    from tacit.core.network import Ensemble as Ensemble
    from tacit.core.network import Network as Network
    from tacit.core.network import Teacher as Teacher
    from tacit.core.probe import Probe as Probe
    from tacit.core.spec import Spec as Spec
    from tacit.data.modalities import Modality as Modality
    from tacit.data.modalities import Views as Views
    from tacit.distill.loop import Training as Training
    from tacit.synthesize.method import Method as Method
    from tacit.synthesize.pool import Pool as Pool
    from tacit.verbs.base import Outcome as Outcome
    from tacit.verbs.compare import compare as compare
    from tacit.verbs.demo import demo as demo
    from tacit.verbs.distill import distill as distill
    from tacit.verbs.evaluate import evaluate as evaluate
    from tacit.verbs.export import export as export
    from tacit.verbs.federate import federate as federate
    from tacit.verbs.inspect import inspect as inspect
    from tacit.verbs.prune import prune as prune
    from tacit.verbs.quantize import quantize as quantize
    from tacit.verbs.report import report as report
    from tacit.verbs.similarity import similarity as similarity
    from tacit.verbs.synthesize import synthesize as synthesize
    from tacit.verbs.train import train as train

_FOLDERS = ("core", "data", "losses", "verbs", "zoo")
_FOLDERS_OF_VERBS = ("distill", "evaluate", "federate", "prune", "quantize", "report", "synthesize")
_PLACES = {
    **{verb: f"tacit.verbs.{verb}" for verb in VERBS},
    "Ensemble": "tacit.core.network",
    "InputError": "tacit.core.errors",
    "Loss": "tacit.core.loss",
    "Method": "tacit.synthesize.method",
    "Modality": "tacit.data.modalities",
    "ModelRef": "tacit.core.models",
    "Needs": "tacit.core.loss",
    "Network": "tacit.core.network",
    "Objective": "tacit.core.loss",
    "Outcome": "tacit.verbs.base",
    "Pool": "tacit.synthesize.pool",
    "Probe": "tacit.core.probe",
    "Spec": "tacit.core.spec",
    "Teacher": "tacit.core.network",
    "Training": "tacit.distill.loop",
    "View": "tacit.core.loss",
    "Views": "tacit.data.modalities",
    "load": "tacit.core.models",
    "save": "tacit.core.models",
}
__all__ = sorted([*_PLACES, *_FOLDERS, "__version__"])


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("tacit")
    if name not in _PLACES and name not in _FOLDERS:
        raise AttributeError(f"module 'tacit' has no attribute {name!r}")
    if name in (*_FOLDERS, *_FOLDERS_OF_VERBS):
        return importlib.import_module(f"tacit.{name}")
    value = getattr(importlib.import_module(_PLACES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


class _Folder(ModuleType):
    """A folder that shares its name with a verb: `tacit.distill.loop` is in it, and called, `tacit.distill(...)`, it is the verb."""

    @property
    def _verb(self) -> Callable[..., Any]:
        name = self.__name__.rpartition(".")[2]
        verb: Callable[..., Any] = getattr(importlib.import_module(_PLACES[name]), name)
        return verb

    @property
    def __signature__(self) -> Any:
        return self._verb.__signature__  # type: ignore[attr-defined]

    def __call__(self, *args: Any, **options: Any) -> Any:
        return self._verb(*args, **options)


class _Tacit(ModuleType):
    def __setattr__(self, name: str, value: object) -> None:
        if name in _FOLDERS_OF_VERBS and isinstance(value, ModuleType):  # the import system binds sub-packages here
            value.__class__ = _Folder
        super().__setattr__(name, value)


sys.modules[__name__].__class__ = _Tacit
