"""`tacit quantize`: a network in fewer bits, calibrated and, below 8 bits, fine-tuned, without its training data."""

from __future__ import annotations

import tempfile
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.files import read_json
from tacit.core.models import load, model_hash, save
from tacit.core.network import Network, Teacher, count_parameters
from tacit.core.probe import norm_layers
from tacit.core.run import Run
from tacit.data.load import Data
from tacit.distill import Learner, Stored, Training, build_objective
from tacit.distill.objectives import Terms
from tacit.distill.selection import Selection
from tacit.distill.sources import Mixed, Source
from tacit.evaluate import predict
from tacit.quantize import (
    Acceptance,
    Scheme,
    accept,
    calibrate,
    compare_latency,
    plain,
    simulate,
    stored_bits,
    write,
)
from tacit.quantize.deploy import Target, cpu_flags, find_target
from tacit.quantize.engines import EngineName, find_engine
from tacit.synthesize import BNS, Inception, Method, Pool
from tacit.verbs.base import ModelLike, Outcome, as_function, find_model, model_option
from tacit.verbs.learning import LearningVerb
from tacit.verbs.pictures import save_samples
from tacit.verbs.samples import Samples, find_samples

__all__ = ["Quantize", "quantize"]


@dataclass(frozen=True, kw_only=True)
class Quantize(LearningVerb):
    """Give a network fewer bits: an int8 ONNX file, or below 8 bits a network that is fine-tuned to them."""

    model: ModelLike = model_option(required=True)
    """The trained network, in floating point."""
    source: str | None = None
    """Where the images for calibration and fine-tuning come from: a method's name, a run or pool folder, or `data`; not given: `method`."""
    method: Method | None = None
    """How images are made; not given: BNS where the network has batch norm, else Inception, of 60 steps."""
    images: int = 512
    """How many images calibrate and fine-tune."""
    acceptance: int = 256
    """How many more images, which played no part, measure the agreement with the network as it was."""
    scheme: Scheme = field(default_factory=Scheme)
    """Bits and ranges."""
    engine: EngineName = "onnxruntime"
    """For 8 bits, who runs the file: onnxruntime, openvino or torchao; each an extra of its own."""
    target: Target = "auto"
    """For 8 bits, which machine the file is for; auto: this one."""
    finetune: bool | None = None
    """Whether the weights are trained to be quantized, by distillation from the network as it was; not given: below 8 bits."""
    objective: Terms = ({"loss": "kd", "temperature": 1.0}, {"loss": "intermediate", "weight": 0.01})
    """What fine-tuning minimises."""
    training: Training = field(default_factory=lambda: Training(steps=300, batch=64, optimizer="adam", lr=3e-4, weight_decay=0.0))
    """How the network is fine-tuned."""
    mixup: float = 0.0
    """Images are mixed in fine-tuning, with shares from Beta(mixup, mixup); 0: none are."""
    freeze_bn: bool | None = None
    """Whether batch norm keeps its statistics in fine-tuning; not given: unless the images carry those statistics (real data, BNS)."""
    eval_split: str | None = "test"
    """With `source: data`, the split on which accuracy is measured; null: none."""

    name: ClassVar[str] = "quantize"
    positional: ClassVar[str] = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("images", 2), ("acceptance", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if not self.mixup >= 0:
            raise InputError(f"mixup: expected 0 or more, got {self.mixup}")
        if self.select == "agreement":
            raise InputError("select: fine-tuning makes no images on the way to choose by; use `last` or `ema`")

    @property
    def deployable(self) -> bool:
        """Whether an engine runs these bits as they are."""
        return self.scheme.weights == self.scheme.activations == self.scheme.last == 8

    def run(self) -> Outcome:
        """Quantize; return the run folder with the file, or the network."""
        run, clock = self.plan_run(), Clock()
        network = find_model(self.model, seed=self.seed)
        teacher = Teacher.of(network)
        tuned = self.finetune if self.finetune is not None else not self.deployable
        method = self.method or _usual(teacher)
        run.config = replace(self, method=method if self.source is None else self.method).config()
        runtime = self.open_runtime(teacher)
        if self.deployable:
            find_engine(self.engine).check(self.scheme, self.target)
        real = self.source == "data"
        held = self.held_out(self.eval_split if real else self.split or "test", "eval_split" if real else "split", teacher.spec, runtime)
        state = self.open_run(run, runtime)
        samples = self._samples(teacher, method, runtime, clock, run)
        compressed = simulate(teacher, self.scheme, freeze=self._freeze(samples.origin)) if tuned or not self.deployable else None
        metrics: dict[str, Any] = {"scheme": asdict(self.scheme), "method": samples.origin, "params_teacher": count_parameters(teacher)}
        if compressed is not None:
            runtime.place(compressed)
            calibrate(compressed, samples.learned.columns["images"], self.scheme, runtime)
            metrics["agreement_calibrated"] = accept(teacher, compressed, samples.fresh.columns["images"], runtime).agreement
        if compressed is not None and tuned:
            metrics |= self._finetune(teacher, compressed, samples, held, run, clock, state, runtime)
        elif compressed is not None:
            save(compressed, run.folder / "model")
        if self.deployable:
            metrics |= self._write(teacher, compressed, samples, run, clock)
            compressed = load(run.folder / metrics["file"])
        assert compressed is not None
        if not self.deployable:
            metrics |= {"bytes_float": 4 * count_parameters(teacher), "bytes": -(-stored_bits(compressed) // 8)}
        with clock("evaluation"):
            found = accept(teacher, compressed, samples.fresh.columns["images"], runtime)
            metrics |= {"agreement_synthetic": found.agreement, "acceptance": asdict(found)}
            if held is not None:
                theirs, ours = (predict(one, held.batches(512), runtime) for one in (teacher, compressed))
                metrics |= {"teacher_accuracy": theirs.accuracy, "student_accuracy": ours.accuracy, "agreement": ours.agreement(theirs)}
                metrics["evaluation_images"] = len(ours.labels)
        save_samples(run.folder / "samples", samples.learned)
        result = self.result(runtime, clock, metrics, images=samples.made, selection=self.select if tuned else None)
        run.finish(result)
        return Outcome(folder=run.folder, result=result, rows=_rows(result, found, run.folder, self.scheme), network=compressed)

    def _samples(self, teacher: Teacher, method: Method, runtime: Runtime, clock: Clock, run: Run) -> Samples:
        """Return the images, from the run's own folders where it is resumed."""
        places = {"learned": run.folder / "pool", "fresh": run.folder / "acceptance"}
        if self.resume and all((place / "pool.json").is_file() for place in places.values()):
            kept = {name: Pool.load(place, device=runtime.device) for name, place in places.items()}
            before = read_json(places["learned"] / "pool.json")["provenance"]
            return Samples(**kept, origin=before["origin"], made=before["made"])
        samples = find_samples(
            teacher,
            source=self.source,
            method=method,
            data=self.data,
            split=self.split or "train",
            images=self.images,
            fresh=self.acceptance,
            runtime=runtime,
            seed=self.seed,
            clock=clock,
        )
        if samples.origin != "data":  # real images stay where they are
            provenance = {"teacher_sha256": model_hash(teacher), "method": method.config(), "seed": self.seed}
            provenance |= {"origin": samples.origin, "made": samples.made}
            samples.learned.save(places["learned"], provenance)
            samples.fresh.save(places["fresh"], provenance)
        return samples

    def _freeze(self, origin: str) -> bool:
        return self.freeze_bn if self.freeze_bn is not None else origin not in ("data", "pool", BNS.__name__)

    def _finetune(
        self,
        teacher: Teacher,
        student: Network,
        samples: Samples,
        held: Data | None,
        run: Run,
        clock: Clock,
        state: dict[str, Any] | None,
        runtime: Runtime,
    ) -> dict[str, Any]:
        """Fine-tune the student, write it into ``model/``, and return what is known of its averaged or selected weights."""

        def evaluate() -> float:
            assert held is not None
            return predict(student, held.batches(512), runtime).accuracy

        stored = Stored(samples.learned, size=self.training.batch, seed=self.seed, device=runtime.device, augmentation=self.augmentation)
        source: Source = Mixed(stored, self.mixup, seed=self.seed) if self.mixup else stored
        generator = runtime.generator(self.seed, "objective")
        learner = Learner(
            student, source, build_objective(self.objective), self.training, runtime=runtime, generator=generator, teacher=teacher
        )
        selection = Selection(student, select=self.select, ema=self.ema, patience=0)
        measure = evaluate if held is not None else None
        self.learn(learner, run, clock, state, title=f"fine-tune {self.scheme.name}", evaluate=measure, selection=selection)
        return self.hand_over(selection, run, measure)

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
                "bytes_float": written.sizes[0],
                "bytes": written.sizes[1],
                "milliseconds": taken,
                "target": find_target(self.target),
                "cpu_flags": cpu_flags(),
            }


def _usual(teacher: Teacher) -> Method:
    return BNS(steps=60) if norm_layers(teacher) else Inception(steps=60)


def _rows(result: dict[str, Any], found: Acceptance, folder: Path, scheme: Scheme) -> list[tuple[str, str]]:
    metrics, seconds = result["metrics"], result["seconds"]
    ratio = metrics["bytes_float"] / metrics["bytes"]
    rows = [("scheme", scheme.name), ("images", metrics["method"])]
    if metrics["student_accuracy"] is not None:
        rows += [
            ("accuracy, float", f"{metrics['teacher_accuracy']:.2%}"),
            ("accuracy, quantized", f"{metrics['student_accuracy']:.2%}"),
        ]
    rows += [
        ("agreement, fresh samples", f"{found.agreement:.2%} of {found.images} (a proxy, not an accuracy)"),
        ("cosine of logits", f"{found.cosine:.4f}"),
        ("size", f"{metrics['bytes_float'] / 2**10:,.0f} -> {metrics['bytes'] / 2**10:,.0f} KiB ({ratio:.1f} times smaller)"),
    ]
    for size, taken in metrics.get("milliseconds", {}).items():
        faster = taken["float"] / taken["int8"]
        rows.append(
            (f"batch of {size}", f"{taken['float']:.2f} -> {taken['int8']:.2f} ms ({faster:.1f} times; torch {taken['torch']:.2f} ms)")
        )
    rows.append(("seconds", f"{seconds['synthesis']:.1f} synthesis, {seconds['training']:.1f} training"))
    rows.append(("file", str(folder / metrics["file"])) if "file" in metrics else ("model", str(folder / "model")))
    return rows


quantize = as_function(Quantize)
