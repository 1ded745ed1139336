"""`tacit quantize`: a network in fewer bits, calibrated and, below 8 bits, fine-tuned, without its training data."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.models import load, save
from tacit.core.network import Network, Teacher, count_parameters, stored_bytes
from tacit.core.run import Run
from tacit.core.taps import stage_names
from tacit.data.load import Data
from tacit.distill import Training
from tacit.distill.advice import Advice
from tacit.distill.objectives import Terms
from tacit.evaluate import Acceptance, accept, predict
from tacit.quantize import (
    Scheme,
    adjust_norms,
    calibrate,
    compare_latency,
    make_baselines,
    plain,
    simulate,
    stored_bits,
    write,
)
from tacit.quantize.deploy import Target, cpu_flags, find_target
from tacit.quantize.engines import EngineName, find_engine
from tacit.quantize.simulate import check_layers, left_alone
from tacit.synthesize import Gaussian
from tacit.verbs.base import Outcome, as_function
from tacit.verbs.compressing import CompressVerb
from tacit.verbs.pictures import save_samples
from tacit.verbs.samples import Samples, paint
from tacit.verbs.scores import other_rows

__all__ = ["Quantize", "quantize"]

OBJECTIVE: Terms = ({"loss": "kd", "temperature": 1.0}, {"loss": "intermediate", "weight": 0.01})
CLIPPED = 0.9
"""Cosine of an 8-bit file's logits with the network's, on noise, below which ranges clip; sound ones had 0.99 and more, others 0.3."""
UNDONE = 0.1
"""Loss of agreement by fine-tuning that is no chance: some three standard deviations on 256 samples."""


@dataclass(frozen=True, kw_only=True)
class Quantize(CompressVerb):
    """Give a network fewer bits: an int8 ONNX file, or below 8 bits a network that is fine-tuned to them."""

    scheme: Scheme = field(default_factory=Scheme)
    """Bits and ranges."""
    engine: EngineName = "onnxruntime"
    """For 8 bits, who runs the file: onnxruntime, openvino or torchao; each an extra of its own."""
    target: Target = "auto"
    """For 8 bits, which machine the file is for; auto: this one."""
    finetune: bool | None = None
    """Whether the weights are trained to be quantized, by distillation from the network as it was; not given: below 8 bits."""
    objective: Terms = OBJECTIVE
    """What fine-tuning minimises; of these two terms the first alone, where the network has no feature maps."""
    training: Training = field(default_factory=lambda: Training(steps=300, batch=64, optimizer="adam", lr=3e-4, weight_decay=0.0))
    """How the network is fine-tuned."""
    mixup: float = 0.5
    """Images are mixed in fine-tuning, with shares from Beta(mixup, mixup), as in The Knowledge Within; 0: none are."""
    adjust_bn: bool = True
    """Whether batch norm is told how quantization shifts what it reads, before fine-tuning and, where it learned from images that match
    it, again after it (not for files, which have none left)."""
    baselines: bool = True
    """Whether to measure what can be had without any image, too: bfloat16, the weights alone in few bits, and DFQ of Nagel et al."""

    name: ClassVar[str] = "quantize"

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.deployable and (self.engine, self.target) != ("onnxruntime", "auto"):
            raise InputError(f"engine, target: no engine runs {self.scheme.name}, so that no file is written: leave both out")

    @property
    def deployable(self) -> bool:
        """Whether an engine runs these bits as they are."""
        return self.scheme.weights == self.scheme.activations == self.scheme.last == 8

    @property
    def tuned(self) -> bool:
        """Whether the quantized network is trained."""
        return self.finetune if self.finetune is not None else not self.deployable

    @property
    def norms_learn(self) -> bool:
        return self.tuned and not (self.scheme.weights > 2 if self.freeze_bn is None else self.freeze_bn)

    def freezes(self, samples: Samples) -> bool:
        """Return whether batch norm keeps its statistics in fine-tuning: with 3 bits or more, unless told otherwise, always.

        On a ResNet-20 of CIFAR-10 at W4A4, on images of BNS, 90.14 % so and 89.34 % with batch norm live; at W2A4, with weights
        that were symmetric then, 78.69 and 83.82 % (seed 0): once quantization distorts much, statistics that follow it are worth more than
        those of the data.
        """
        return True if self.freeze_bn is None and self.scheme.weights > 2 else super().freezes(samples)

    def terms(self, teacher: Teacher) -> Terms:
        usual = list(self.objective) == list(OBJECTIVE)
        return OBJECTIVE[:1] if usual and not stage_names(teacher) else self.objective

    def run(self) -> Outcome:
        """Quantize; return the run folder with the file, or the network."""
        run, clock = self.plan_run(), Clock()
        teacher = self.find_teacher()
        tuned, method = self.tuned, self.chosen_method(teacher)
        run.config = replace(self, method=method if self.source is None else self.method).config()
        runtime = self.open_runtime(teacher)
        advice, engine = self.advise(teacher, runtime), find_engine(self.engine)
        check_layers(teacher)
        if self.deployable:
            engine.check(self.scheme, self.target)
            engine.rehearse(teacher)
        if tuned:
            self.check_terms(teacher)
        held = self.measured_on(teacher.spec, runtime)
        state = self.open_run(run, runtime)
        samples = self.samples(teacher, method, runtime, clock, run)
        compressed = simulate(teacher, self.scheme, freeze=self.freezes(samples)) if tuned or not self.deployable else None
        metrics: dict[str, Any] = {"scheme": asdict(self.scheme), "method": samples.origin, "params_teacher": count_parameters(teacher)}
        metrics |= {"images": len(samples.learned), "class_names": teacher.spec.class_names}
        if compressed is not None:
            if names := left_alone(teacher):
                advice.give(
                    {"left": f"the weights of {', '.join(names)} stay in floating point: `forward` reads them without calling the layer"}
                )
            runtime.place(compressed)
            calibrate(compressed, samples.learned.columns["images"], self.scheme, runtime)
            if self.adjust_bn:
                adjust_norms(compressed, teacher, samples.learned.columns["images"], runtime)
            metrics["agreement_calibrated"] = accept(teacher, compressed, samples.fresh.columns["images"], runtime).agreement
        if compressed is not None and tuned:
            title = f"fine-tune {self.scheme.name}"
            images = samples.learned.columns["images"]
            learned = self.adjust_bn and samples.carry_statistics and not self.freezes(samples)
            settle = partial(adjust_norms, compressed, teacher, images, runtime) if learned else None
            metrics |= self.finetune_on(samples, teacher, compressed, held, run, clock, state, runtime, title=title, settle=settle)
        elif compressed is not None:
            save(compressed, run.folder / "model")
        if self.deployable:
            metrics |= self._write(teacher, compressed, samples, run, clock)
            compressed = load(run.folder / metrics["file"])
            advice.give(_slow(metrics, engine.left_in_float(run.folder / metrics["file"])))
        assert compressed is not None
        if not self.deployable:
            metrics |= {"size_teacher_bytes": stored_bytes(teacher.model), "size_student_bytes": -(-stored_bits(compressed) // 8)}
        with clock("evaluation"):
            found = accept(teacher, compressed, samples.fresh.columns["images"], runtime)
            metrics |= {"agreement_synthetic": found.agreement, "acceptance": asdict(found)}
            noise = paint(teacher, Gaussian(), self.acceptance, runtime=runtime, seed=self.seed, clock=Clock(), title="a second look")
            other = accept(teacher, compressed, noise.columns["images"], runtime)
            metrics["acceptance_noise"] = asdict(other)
            advice.give(_undone(metrics) | (_clipped(other) if self.deployable else {}))
            if held is not None:
                known = {} if self.deployable else metrics  # a file is what was written of the weights handed over
                metrics |= self.on_data(teacher, compressed, held, runtime, known=known)
            metrics |= self.likeness(samples, teacher, runtime)
            if self.baselines:
                metrics["baselines"] = self._baselines(teacher, samples, held, runtime, advice)
        save_samples(run.folder / "samples", samples.learned)
        advice.give(self.faults(samples, learned=tuned))
        metrics["warnings"] = advice.texts
        result = self.result(runtime, clock, metrics, images=samples.made, selection=self.select if tuned else None)
        run.finish(result)
        rows = _rows(result, found, run.folder, self.scheme)
        return Outcome(folder=run.folder, result=result, rows=rows, network=compressed, text=_line(result, run.folder, self.scheme))

    def _baselines(self, teacher: Teacher, samples: Samples, held: Data | None, runtime: Runtime, advice: Advice) -> list[dict[str, Any]]:
        """Return what is known of each network that is made without any image."""
        found = []
        for name, made in make_baselines(teacher, self.scheme, report=lambda text: advice.give({text: text})).items():
            agreed = accept(teacher, made.network, samples.fresh.columns["images"], runtime)
            accuracy = predict(made.network, held.batches(512), runtime).accuracy if held is not None else None
            figures = {"agreement_synthetic": agreed.agreement, "cosine": agreed.cosine, "student_accuracy": accuracy}
            sizes = {"bytes": made.bytes, "bytes_in_float": stored_bytes(teacher.model)}
            found.append({"name": name, **figures, **sizes, "activations_in_float": made.unknown})
        return found

    def _write(self, teacher: Teacher, tuned: Network | None, samples: Samples, run: Run, clock: Clock) -> dict[str, Any]:
        """Write the int8 file; return its size and speed beside the float file's."""
        with tempfile.TemporaryDirectory() as folder, clock("evaluation"):
            network = plain(tuned, teacher) if tuned is not None else teacher
            images = samples.learned.columns["images"].cpu()
            written = write(network, images, run.folder, Path(folder), self.scheme, engine=self.engine, target=self.target)
            taken = compare_latency(Teacher.of(teacher).cpu(), {"float": written.whole, "int8": written.small})
            return {
                "engine": self.engine,
                "file": written.small.name,
                "size_teacher_bytes": written.sizes[0],
                "size_student_bytes": written.sizes[1],
                "milliseconds": taken,
                "target": find_target(self.target),
                "cpu_flags": cpu_flags(),
            }


def _undone(metrics: Mapping[str, Any]) -> dict[str, str]:
    """Return what speaks against fine-tuning: it left less agreement with the network as it was than calibration alone had.

    At W2A4 on images of Inception, with batch norm frozen, a learning rate of 1e-3 took agreement from 0.64 to 0.13, and the accuracy of a
    ResNet-20 of CIFAR-10 to 10.0 %; a rate of 3e-4 gave 0.96 and 59.6 %, batch norm live 0.98 and 68.2 % (benchmarks, seed 0 of each).
    """
    before, after = metrics.get("agreement_calibrated"), metrics["agreement_synthetic"]
    if before is None or after > before - UNDONE:
        return {}
    return {
        "undone": f"fine-tuning undid what calibration had: {after:.0%} of fresh samples are named alike, {before:.0%} were before it; "
        "try a third of the learning rate (--training.lr), --freeze_bn false, or --finetune false"
    }


def _clipped(noise: Acceptance) -> dict[str, str]:
    """Return what speaks against the ranges: on images of another kind than they were found on, the file answers otherwise."""
    if noise.cosine >= CLIPPED:
        return {}
    return {
        "clipped": f"on Gaussian noise the file names the network's class for {noise.agreement:.0%} of the images, and its logits differ "
        f"(cosine {noise.cosine:.2f}): ranges found on these images seem to clip; try others, as --source Gaussian, or more --images"
    }


def _slow(metrics: dict[str, Any], left: list[str]) -> dict[str, str]:
    """Return what speaks against the file: layers that compute in floating point, and batches that take longer than they did."""
    found, taken = {}, metrics["milliseconds"]
    if left:
        found["float"] = f"{len(left)} layers of {metrics['file']} still compute in floating point: {', '.join(left[:3])}" + ", ..." * (
            len(left) > 3
        )
    for name, words in (("float", "its engine in floating point"), ("torch", "torch in floating point")):
        if slower := [size for size, each in taken.items() if each["int8"] > each[name]]:
            found[f"slower than {name}"] = (
                f"{metrics['file']} is slower than {words} in batches of {' and '.join(slower)}: another engine may serve better"
            )
    return found


def _line(result: dict[str, Any], folder: Path, scheme: Scheme) -> str:
    """Return all in one line."""
    metrics = result["metrics"]
    said = [scheme.name, _times(metrics["size_teacher_bytes"], metrics["size_student_bytes"], "smaller", "larger")]
    if "milliseconds" in metrics:
        taken = metrics["milliseconds"]["1"]
        said.append(f"{_times(taken['float'], taken['int8'], 'faster', 'slower')} than float in {metrics['engine']}")
    said.append(f"names the same class on {metrics['agreement_synthetic']:.1%} of fresh samples")
    return f"{folder / metrics.get('file', 'model')}: {', '.join(said)}"


def _times(before: float, after: float, less: str, more: str) -> str:
    return f"{before / after:.1f} times {less}" if before >= after else f"{after / before:.1f} times {more}"


def _rows(result: dict[str, Any], found: Acceptance, folder: Path, scheme: Scheme) -> list[tuple[str, str]]:
    metrics, seconds = result["metrics"], result["seconds"]
    sizes = metrics["size_teacher_bytes"], metrics["size_student_bytes"]
    rows = [("scheme", scheme.name), ("images", f"{metrics['images']:,} of {metrics['method']}")]
    if metrics["student_accuracy"] is not None:
        rows += [
            ("accuracy, float", f"{metrics['teacher_accuracy']:.2%}"),
            ("accuracy, quantized", f"{metrics['student_accuracy']:.2%}"),
            *other_rows(metrics),
        ]
    rows += [
        ("agreement, fresh samples", f"{found.agreement:.2%} of {found.images} (a proxy, not an accuracy)"),
        ("cosine of logits", f"{found.cosine:.4f}; on Gaussian noise {metrics['acceptance_noise']['cosine']:.4f}"),
        ("size", f"{sizes[0] / 2**10:,.0f} -> {sizes[1] / 2**10:,.0f} KiB ({_times(*sizes, 'smaller', 'larger')})"),
    ]
    for size, taken in metrics.get("milliseconds", {}).items():
        faster = taken["float"] / taken["int8"]
        rows.append(
            (f"batch of {size}", f"{taken['float']:.2f} -> {taken['int8']:.2f} ms ({faster:.1f} times; torch {taken['torch']:.2f} ms)")
        )
    for one in metrics.get("baselines", ()):
        said = [f"{one['student_accuracy']:.2%} accurate"] if one["student_accuracy"] is not None else []
        said += [f"{one['agreement_synthetic']:.2%} agree", f"{one['bytes_in_float'] / one['bytes']:.1f} times smaller, packed"]
        said += [f"{one['activations_in_float']} activations in float"] if one["activations_in_float"] else []
        rows.append((f"without images: {one['name']}", ", ".join(said)))
    rows.append(("seconds", f"{seconds['synthesis']:.1f} synthesis, {seconds['training']:.1f} training"))
    rows.append(("file", str(folder / metrics["file"])) if "file" in metrics else ("model", str(folder / "model")))
    return rows


quantize = as_function(Quantize)
