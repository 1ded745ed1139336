"""Loading and saving models: by import path with weights, or as a folder that tacit wrote."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from tacit.core.enginefile import is_engine_file, load_file
from tacit.core.errors import InputError, nearest
from tacit.core.files import hash_tensors, read_json, read_tensors, write_json, write_tensors
from tacit.core.network import Ensemble, Network, Origin, count_parameters
from tacit.core.spec import Spec, Task, Upsample

__all__ = ["ModelRef", "import_object", "load", "model_hash", "save"]

OWN = ("output", "upsample")
"""Fields of a `Spec` that a student does not take over from its teacher: they say in what form a model's answer comes."""


@dataclass(frozen=True, kw_only=True)
class ModelRef:
    """Where a model is, and what it expects."""

    path: str | list[str] = ""
    """A folder that tacit wrote, `package.module:callable`, or a file that an engine runs (.onnx, .xml, .pt2); several make an ensemble."""
    kwargs: dict[str, Any] = field(default_factory=dict)
    """Arguments of the callable."""
    weights: Path | None = None
    """Weights for the callable's model, `.safetensors` or `.pt` (only tensors are read). A `model.json` of tacit's beside them says what
    the model expects."""
    shape: tuple[int, int, int] | None = None
    """Channels, height and width of an image."""
    classes: int | None = None
    """Number of classes."""
    mean: tuple[float, ...] | None = None
    """Per-channel mean subtracted from images in [0, 1]; not given: what the model's own `pretrained_cfg` says (timm), else zeros."""
    std: tuple[float, ...] | None = None
    """Per-channel standard deviation by which images in [0, 1] are divided; not given: likewise, else ones."""
    names: tuple[str, ...] | None = None
    """Names of the classes."""
    task: Task | None = None
    """classification or segmentation."""
    output: str | None = None
    """Which output holds the logits: a dict's key, a tuple's index, an object's attribute; dots lead inside."""
    upsample: Upsample | None = None
    """For segmentation: how logits coarser than the image become as large: nearest, bilinear or bicubic."""
    ignore: int | None = None
    """For segmentation: the value of mask pixels that belong to no class, beside 255."""
    crop: float | None = None
    """Share of the shorter side of pictures of another size that is seen, in the middle, as 0.875 for 224 of 256; not given: what the
    model's own `pretrained_cfg` says, else 1."""

    def load(self, default: Spec | None = None, *, seed: int | None = None) -> Network:
        """Build the network, load its weights, and check it; `default` (a teacher's spec) fills in what is not given here."""
        paths = [self.path] if isinstance(self.path, str) else list(self.path)
        if not paths:
            raise InputError("no model was given")
        if len(paths) > 1 and (self.kwargs or self.weights):
            raise InputError("kwargs and weights belong to one model: give the members of an ensemble as folders that tacit wrote")
        networks = [self._load_one(path, default, seed).check() for path in paths]
        return networks[0] if len(networks) == 1 else Ensemble.of(networks)

    @classmethod
    def of(cls, factory: str, kwargs: Mapping[str, Any], spec: Mapping[str, Any]) -> ModelRef:
        """Return where the model of ``factory(**kwargs)`` is, which expects and says what `spec`, a `Spec` made plain, tells."""
        return cls(path=factory, kwargs=dict(kwargs), **asdict(Spec(**spec)))

    def _load_one(self, path: str, default: Spec | None, seed: int | None) -> Network:
        given = {f.name: getattr(self, f.name) for f in fields(Spec) if getattr(self, f.name) is not None}
        if is_engine_file(path):
            return load_file(Path(path), given)
        if ":" not in path or Path(path).exists():
            if self.weights is not None or self.kwargs:
                raise InputError(
                    f"{path} is a model folder, which brings weights and arguments of its own: leave out `weights` and `kwargs`"
                )
            return _load_folder(Path(path), given)
        inherited = {} if default is None else {key: value for key, value in asdict(default).items() if key not in OWN}
        if "shape" in given or "classes" in given:
            inherited = {key: value for key, value in inherited.items() if key not in ("mean", "std", "names")}
        if not _is_plain(self.kwargs):
            raise InputError(f"kwargs of {path}: expected plain values (numbers, words, lists), got {dict(self.kwargs)}")
        if seed is not None:
            torch.manual_seed(seed)
        model = _build(path, self.kwargs)
        given = _beside(self.weights) | given
        known = {**_own_words(model, {**inherited, **given}.get("shape")), **inherited, **given}
        missing = [name for name in ("shape", "classes") if name not in known]
        if missing:
            options = "its options `.shape` and `.classes`, as `--model.shape '[3, 32, 32]'`"
            raise InputError(f"{path}: say what the model expects: {' and '.join(missing)} ({options})")
        network = Network(model, Spec(**known), origin=Origin(factory=path, kwargs=self.kwargs))
        if self.weights is not None:
            _load_weights(network.model, read_tensors(self.weights), str(self.weights))
        return network


def _beside(weights: Path | None) -> dict[str, Any]:
    """Return what a `model.json` that tacit wrote beside weights says that the network expects; nothing where there is none."""
    described = Path(weights).parent / "model.json" if weights is not None else None
    if described is None or not described.is_file():
        return {}
    spec = read_json(described).get("spec")
    return {key: value for key, value in spec.items() if key in {f.name for f in fields(Spec)}} if isinstance(spec, dict) else {}


def _own_words(model: nn.Module, shape: Sequence[int] | None) -> dict[str, Any]:
    """Return what a model in the manner of timm says of itself: shape, mean, std, crop in `pretrained_cfg`, classes in `num_classes`.

    Args:
        model: Any.
        shape: Of an image, where it is known otherwise; mean and std are left out where they are of other channels.
    """
    held = getattr(model, "pretrained_cfg", None) or getattr(model, "default_cfg", None) or {}
    said: Mapping[str, Any] = held if isinstance(held, Mapping) else getattr(held, "__dict__", {})
    names = {"input_size": "shape", "mean": "mean", "std": "std"}
    found: dict[str, Any] = {ours: said[theirs] for theirs, ours in names.items() if isinstance(said.get(theirs), list | tuple)}
    classes = getattr(model, "num_classes", None)
    if isinstance(classes, int) and classes > 1 and found:
        found["classes"] = classes
    share = said.get("crop_pct")
    if isinstance(share, float) and 0 < share <= 1 and found:
        found["crop"] = share
    channels = next(iter(shape or found.get("shape") or (0,)))
    return {key: value for key, value in found.items() if key not in ("mean", "std") or len(value) == channels}


def _build(path: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Call what `path` names: an `nn.Module` class, or a function that makes one. Python's own functions are refused."""
    factory = import_object(path)
    made_here = isinstance(factory, type) and issubclass(factory, nn.Module)
    home = str(getattr(factory, "__module__", "")).partition(".")[0]
    if not (made_here or inspect.isfunction(factory)) or home in sys.stdlib_module_names:
        raise InputError(f"{path} is a {type(factory).__name__}, expected an nn.Module class or a function that makes a model")
    try:
        inspect.signature(factory).bind(**kwargs)
    except TypeError as error:
        raise InputError(f"{path} can't be called with {dict(kwargs)}: {error}") from error
    model = factory(**kwargs)
    if not isinstance(model, nn.Module):
        raise InputError(f"{path} made a {type(model).__name__}, expected an nn.Module")
    return model


def _is_plain(kwargs: Mapping[str, Any]) -> bool:
    """Whether model.json can hold these arguments."""
    try:
        json.dumps(dict(kwargs))
    except TypeError:
        return False
    return True


def import_object(path: str) -> Any:
    """Return what ``package.module:name`` names; the working directory is searched too. `InputError` where there is no such thing."""
    module_name, _, name = path.partition(":")
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        found: Any = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError, TypeError) as error:
        raise InputError(f"can't import {module_name!r}: {error}") from error
    for part in name.split("."):
        if not hasattr(found, part):
            raise InputError(f"{module_name} has no {name!r}{nearest(name, [n for n in vars(found) if not n.startswith('_')])}")
        found = getattr(found, part)
    return found


def _load_folder(folder: Path, given: Mapping[str, Any]) -> Network:
    inside = folder / "model" if (folder / "model" / "model.json").is_file() else folder
    if not (inside / "model.json").is_file():
        hint = "" if folder.exists() else " (there is no such folder)"
        raise InputError(f"{folder} is no model folder{hint}: expected model.json and weights.safetensors, or package.module:callable")
    described = read_json(inside / "model.json")
    try:
        spec = Spec(**{**described["spec"], **given})
        factory, kwargs = described["factory"], described["kwargs"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{inside / 'model.json'} was not written by tacit, or by another version: {error}") from error
    if factory is None:
        raise InputError(
            f"{inside} was saved from a live object: give the code that builds it and the weights, as `package.module:callable` with "
            f"`.weights {inside / 'weights.safetensors'}`; what it expects of images is read there"
        )
    model = _build(factory, kwargs)
    _load_weights(model, read_tensors(inside / "weights.safetensors"), str(inside / "weights.safetensors"))
    return Network(model, spec, origin=Origin(factory=factory, kwargs=kwargs))


def _load_weights(model: nn.Module, weights: Mapping[str, Tensor], where: str) -> None:
    for prefix in ("_orig_mod.", "module."):
        if weights and all(key.startswith(prefix) for key in weights):
            weights = {key.removeprefix(prefix): value for key, value in weights.items()}
    wanted = model.state_dict()
    if first := next(iter(wanted), None):  # of a module that had the model as a part, as Lightning's
        for prefix in {key.removesuffix(first) for key in weights if key.endswith(f".{first}")}:
            inside = {key.removeprefix(prefix): value for key, value in weights.items() if key.startswith(prefix)}
            weights = inside if inside.keys() == wanted.keys() else weights
    for kind, keys in (("lacks", [k for k in wanted if k not in weights]), ("has unknown", [k for k in weights if k not in wanted])):
        if keys:
            more = f" and {len(keys) - 5} more" if len(keys) > 5 else ""
            raise InputError(f"{where} {kind} {', '.join(keys[:5])}{more}: these are weights of another model than {type(model).__name__}")
    for key, value in wanted.items():
        if weights[key].shape != value.shape:
            raise InputError(f"{where}: {key} has shape {list(weights[key].shape)}, the model expects {list(value.shape)}")
    model.load_state_dict(dict(weights))


def load(model: str | Path | ModelRef, **reference: Any) -> Network:
    """Load a model folder, or build ``package.module:callable``.

    Args:
        model: A folder that tacit wrote (or a run folder that holds one), or an import path.
        reference: Fields of `ModelRef`: kwargs, weights, shape, classes, mean, std, names, task, output, upsample, ignore.

    Returns:
        A `Network`, fed with images in [0, 1].
    """
    return (model if isinstance(model, ModelRef) else ModelRef(path=str(model), **reference)).load()


def model_hash(network: Network) -> str:
    """Return the sha256 of a network's weights."""
    return hash_tensors(network.model.state_dict())


def save(network: Network, folder: str | Path) -> None:
    """Write ``model.json`` and ``weights.safetensors`` into `folder`, from which `load` builds the network again.

    One that was made of a live object, and not of an import path, needs that beside: ``load("package.module:callable", weights=...)``.
    """
    folder, weights = Path(folder), network.model.state_dict()
    write_tensors(folder / "weights.safetensors", weights)
    origin = network.origin if network.origin is not None and _is_plain(network.origin.kwargs) else None
    described = {
        "format": 1,
        "factory": origin.factory if origin else None,
        "kwargs": dict(origin.kwargs) if origin else {},
        "class": f"{type(network.model).__module__}.{type(network.model).__qualname__}",
        "spec": asdict(network.spec),
        "parameters": count_parameters(network.model),
        "sha256": hash_tensors(weights),
    }
    write_json(folder / "model.json", described)
