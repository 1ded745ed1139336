"""`tacit inspect`: the pre-flight of a model. What it is made of, what can be got out of it, and which method to use."""

from __future__ import annotations

import contextlib
from collections import Counter
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.input_range import input_range
from tacit.core.match import Match, last, match, pooled
from tacit.core.models import model_hash
from tacit.core.network import Network, Teacher, count_parameters, members, work_per_image
from tacit.core.norms import Norms, norms_of
from tacit.core.parts import tensor_parts
from tacit.core.probe import Probe
from tacit.core.spec import Spec
from tacit.data import find_views
from tacit.data.modalities import ViewsLike
from tacit.synthesize import METHODS
from tacit.verbs.base import ModelLike, Outcome, Verb, as_function, check_pair, find_model, model_option, view_option
from tacit.verbs.choose import choose_method, obstacle

__all__ = ["Inspect", "answers_apart", "inspect", "matched", "reach", "taps"]

NORMS = (nn.modules.batchnorm._BatchNorm, nn.GroupNorm, nn.LayerNorm, nn.modules.instancenorm._InstanceNorm, nn.LocalResponseNorm)
TOGETHER = "the answer to an image depends on those beside it, also in evaluation mode"


@dataclass(frozen=True, kw_only=True)
class Inspect(Verb):
    """Look at a model before the long work: layers, normalisation, input range, what noise reaches, taps, methods."""

    teacher: ModelLike = model_option(required=True)
    """The model to look at; several make an ensemble."""
    student: ModelLike | None = model_option()
    """A student for it: its shape and classes are checked against the teacher's, and the layers shown that stand beside each other."""
    views: ViewsLike | None = view_option()
    """What teacher and student see of an image, where that differs, as in `tacit distill`: luminance-chrominance."""
    seed: int = 0
    """Of the noise."""
    device: str = "auto"
    """auto, cpu, cuda, mps, ..."""
    steps: int = 60
    """Optimisation steps in which noise is turned towards each class."""

    name: ClassVar[str] = "inspect"
    positional: ClassVar[str] = "teacher"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise InputError(f"steps: expected 0 or more, got {self.steps}")

    def run(self) -> Outcome:
        """Return what was found; nothing is written."""
        network = find_model(self.teacher, seed=self.seed)
        runtime = Runtime(self.device, "32-true", work=work_per_image(network))
        views = find_views(self.views) if self.views is not None else None
        beside = views.student_spec(network.spec) if views is not None else network.spec
        student = find_model(self.student, beside, seed=self.seed) if self.student is not None else None
        if student is not None:
            check_pair(network.spec, student.spec, views)
        teacher = Teacher.of(network)
        runtime.place(teacher)
        norms = Counter(type(m).__name__ for m in teacher.modules() if isinstance(m, NORMS))
        batch, apart = norms_of(teacher), answers_apart(teacher)
        methods = {kind.__name__: obstacle(kind(), teacher, student or teacher) for kind in METHODS}
        chosen = choose_method(teacher, student=student or teacher)
        found: dict[str, Any] = {
            "class": type(network.model).__qualname__,
            "sha256": model_hash(network),
            "parameters": count_parameters(network),
            "shape": list(network.spec.shape),
            "classes": network.spec.classes,
            "layers": dict(Counter(type(m).__name__ for m in teacher.modules() if not list(m.children())).most_common()),
            "norms": dict(norms),
            "norms_with_running_statistics": batch.running,
            "batch_norm": {**asdict(batch), "may_be_folded": batch.may_be_folded, "found": batch.found},
            "answers_apart": apart,
            "input": input_range(teacher),
            "noise": reach(teacher, runtime, steps=self.steps, seed=self.seed),
            "taps": taps(teacher),
            "matched": matched(teacher, student) if student is not None else None,
            "methods": {name: {"usable": reason is None, "reason": reason} for name, reason in methods.items()},
            "recommended": chosen.name,
            "why": _why(batch, chosen.name),
        }
        return Outcome(folder=None, result=found, rows=_rows(found, network.spec))


def _why(batch: Norms, name: str) -> str:
    if not batch.running:
        return f"no batch-norm layer carries running statistics; {name} needs none"
    if batch.initial == batch.running:
        return f"there are running statistics, which {name} matches; but they are of no batch, and say nothing of the training data"
    known = batch.running - batch.initial
    return f"{known} batch-norm layer{'s' * (known > 1)} remember the statistics of the training data, which {name} matches"


@torch.no_grad()
def answers_apart(teacher: Teacher) -> bool:
    """Return whether the answer to an image is the same whichever images are beside it, as in evaluation mode it should be."""
    draw = torch.Generator().manual_seed(0)
    images = torch.rand(4, *teacher.spec.shape, generator=draw).to(teacher.mean.device)
    beside, other = teacher(images[:2])[0], teacher(torch.cat([images[:1], images[2:].square()]))[0]
    return bool((beside - other).abs().max() <= 1e-3 * beside.abs().max().clamp_min(1.0))


def reach(teacher: Teacher, runtime: Runtime, *, steps: int, seed: int, each: int = 4) -> dict[str, Any]:
    """Return how many classes the teacher sees in noise, and in noise turned towards each of them by `steps` steps of gradient descent."""
    spec, generator = teacher.spec, runtime.generator(seed)

    def ask(images: Tensor) -> Tensor:
        logits: Tensor = teacher(images)
        return logits.flatten(2).mean(dim=2) if logits.ndim > 2 else logits  # dense answers count by their mean

    classes = min(spec.classes, 50)
    with torch.no_grad():
        plain = ask(torch.rand(256, *spec.shape, generator=generator, device=runtime.device)).softmax(dim=1)
    wanted = torch.arange(classes, device=runtime.device).repeat(each)
    pixels = torch.rand(len(wanted), *spec.shape, generator=generator, device=runtime.device).requires_grad_()
    optimizer = torch.optim.Adam([pixels], lr=0.05)
    for _ in range(steps):
        loss = nn.functional.cross_entropy(ask(pixels), wanted)
        optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        with torch.no_grad():
            pixels.clamp_(0.0, 1.0)
    with torch.no_grad():
        turned = ask(pixels).softmax(dim=1)
    hit = turned.argmax(dim=1) == wanted
    return {
        "classes_in_noise": len(set(plain.argmax(dim=1).tolist())),
        "confidence_in_noise": float(plain.max(dim=1).values.mean()),
        "classes_tried": classes,
        "classes_reached": len(set(wanted[hit].tolist())),
        "confidence_reached": float(turned.gather(1, wanted[:, None]).mean()),
    }


@torch.no_grad()
def taps(network: Network) -> dict[str, list[int]]:
    """Return what can be tapped, by dotted name, with the shape for one image; at most two levels deep.

    Of a module that returns several tensors, each has its place behind a colon, as ``encoder:hidden_states.2``.
    """
    names = [n for n, _ in network.model.named_modules() if n and n.count(".") <= 1]
    shapes: dict[str, list[int]] = {}
    handles = []
    for name in names:

        def hook(_: nn.Module, __: Any, output: object, name: str = name) -> None:
            found = tensor_parts(output)
            shapes.update({f"{name}:{path}" if len(found) > 1 else name: list(part.shape[1:]) for path, part in found.items()})

        handles.append(network.model.get_submodule(name).register_forward_hook(hook))
    try:
        with Probe(network) as look:
            look(torch.full((1, *network.spec.shape), 0.5, device=network.mean.device))
    finally:
        for handle in handles:
            handle.remove()
    return shapes


def matched(teacher: Network, student: Network) -> list[dict[str, Any]]:
    """Return the layers that losses on features compare where none are named: stage by stage, then what the classifiers read.

    Between these stand the last maps of both, which `sp` and `ft` compare, where they are no pair of stages already. Of an ensemble these
    are those of each member, one after the other. Each has the name and shape (channels, height, width) of the teacher's layer and of the
    student's; nothing where a network has none.
    """
    found: list[Match] = []
    for prefix, member in members(teacher).items():
        pairs: list[Match] = []
        with contextlib.suppress(InputError):
            pairs += match(member, student)
            pairs += [each for each in [last(member, student)] if each not in pairs]
        with contextlib.suppress(InputError):
            pairs.append(Match(pooled(member), pooled(student)))
        found += [Match(replace(each.teacher, name=f"{prefix}{each.teacher.name}"), each.student) for each in pairs]
    sides = [{"teacher": each.teacher, "student": each.student} for each in found]
    return [{role: {"tap": layer.name, "shape": list(layer.shape)} for role, layer in side.items()} for side in sides]


def _rows(found: dict[str, Any], spec: Spec) -> list[tuple[str, str]]:
    noise, norms = found["noise"], found["norms"]
    kinds = ", ".join(f"{count} {name}" for name, count in norms.items()) or "none"
    features = [f"{name} {'x'.join(map(str, shape))}" for name, shape in found["taps"].items()]
    rows = [
        ("model", f"{found['class']}, {found['parameters']:,} parameters"),
        ("takes", f"{'x'.join(map(str, spec.shape))} images in [0, 1], mean {_short(spec.mean)}, std {_short(spec.std)}"),
        ("says", f"{spec.classes} classes"),
        ("layers", ", ".join(f"{count} {name}" for name, count in found["layers"].items())),
        ("normalisation", f"{kinds}; {found['norms_with_running_statistics']} with running statistics"),
        ("batch norm", found["batch_norm"]["found"] + ("" if found["answers_apart"] else "; " + TOGETHER)),
        ("input range", found["input"]["verdict"]),
        ("in plain noise", f"{noise['classes_in_noise']} of {spec.classes} classes, mean confidence {noise['confidence_in_noise']:.2f}"),
        (
            "reached from noise",
            f"{noise['classes_reached']} of {noise['classes_tried']} classes, confidence {noise['confidence_reached']:.2f}",
        ),
        ("features", "; ".join(features[:8]) + (f"; and {len(features) - 8} more (--json)" if len(features) > 8 else "")),
    ]
    if found["matched"] is not None:
        said = [" | ".join(f"{side['tap']} {'x'.join(map(str, side['shape']))}" for side in pair.values()) for pair in found["matched"]]
        rows += [("matched layers", "teacher | student" if said else "none: one of the networks has no feature maps, and no classifier")]
        rows += [("", text) for text in said]
    rows += [(f"  {name}", "usable" if entry["usable"] else f"not usable: {entry['reason']}") for name, entry in found["methods"].items()]
    rows.append(("recommended", f"{found['recommended']}: {found['why']}"))
    return rows


def _short(values: tuple[float, ...]) -> str:
    return "[" + ", ".join(f"{v:.3g}" for v in values) + "]"


inspect = as_function(Inspect)
