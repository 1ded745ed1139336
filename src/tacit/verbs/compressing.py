"""What `quantize` and `prune` share: a network made smaller, and put right again by distillation from what it was, on samples of itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any, ClassVar

from tacit.core.device import Clock, Runtime
from tacit.core.enginefile import refuse_file
from tacit.core.errors import InputError
from tacit.core.files import read_json
from tacit.core.models import model_hash, save
from tacit.core.network import Network, Teacher
from tacit.core.norms import norm_layers, norms_of
from tacit.core.run import Run
from tacit.core.spec import Spec
from tacit.data.load import Data
from tacit.distill import Learner, Stored, build_phases
from tacit.distill.advice import Advice, pool_faults
from tacit.distill.objectives import Terms
from tacit.distill.selection import Selection, wearing
from tacit.distill.sources import Mixed, Source
from tacit.evaluate import Answers, predict
from tacit.evaluate.divergence import set_divergence
from tacit.quantize.simulate import Simulated
from tacit.synthesize import BNS, Inception, Method, Pool
from tacit.verbs.base import ModelLike, find_model, model_option
from tacit.verbs.choose import method_named, remaining
from tacit.verbs.learning import LearningVerb
from tacit.verbs.samples import Samples, find_samples

__all__ = ["CompressVerb"]


@dataclass(frozen=True, kw_only=True)
class CompressVerb(LearningVerb):
    """Options of the verbs that make a network smaller."""

    model: ModelLike = model_option(required=True)
    """The trained network, in floating point."""
    source: str | None = None
    """Where the images come from, to calibrate and to fine-tune: a method's name, a run or pool folder, or `data`; not given: `method`."""
    method: Method | None = None
    """How images are made; not given: BNS of 100 steps where the network has batch norm, moved as fine-tuning moves them where batch norm
    learns from them, else Inception of 20, less smooth where images are small; `source` BNS or Inception means these very settings."""
    images: int = 512
    """How many images there are to learn from."""
    acceptance: int = 256
    """How many more images, which played no part, measure the agreement with the network as it was."""
    objective: Terms = "kd=1"
    """What fine-tuning minimises."""
    cache_teacher: bool | None = None
    """Whether the teacher is asked only once of an image that comes again unchanged (augmentation none); what is learned is the same. Not
    given: where each image comes twice or more, and 1 GiB holds the answers."""
    mixup: float = 0.0
    """Images are mixed in fine-tuning, with shares from Beta(mixup, mixup); 0: none are."""
    freeze_bn: bool | None = None
    """Whether batch norm keeps its statistics in fine-tuning; not given: unless the images carry them (real, or of a method that matches
    them, as BNS), and in `quantize` always where weights have 3 bits or more."""
    eval_split: str | None = "test"
    """With `source: data`, the split on which accuracy is measured; null: none."""

    positional: ClassVar[str] = "model"

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, least in (("images", 2), ("acceptance", 1)):
            if getattr(self, name) < least:
                raise InputError(f"{name}: expected at least {least}, got {getattr(self, name)}")
        if self.workers is not None:
            raise InputError(f"workers: it plays no part here, where {self.images:,} images are kept in memory: leave it out")
        named = method_named(self.source) if self.source is not None else None
        if self.method is not None and named is not None and named.name != self.method.name:
            raise InputError(f"source: {named.name}, and method: {self.method.name}; choose one")
        self.check_real(real=self.source == "data", eval_split=self.eval_split)
        if not self.mixup >= 0:
            raise InputError(f"mixup: expected 0 or more, got {self.mixup}")
        if self.select == "agreement":
            raise InputError("select: fine-tuning makes no images on the way to choose by; use `last` or `ema`")

    def find_teacher(self) -> Teacher:
        """Return the network as it was; `InputError` where it is no network in floating point that can be looked into."""
        network = find_model(self.model, seed=self.seed)
        refuse_file(network)
        if isinstance(network.model, Simulated):
            raise InputError("model: this network has few bits already: give the one in floating point that it was made of")
        return Teacher.of(network)

    def chosen_method(self, teacher: Teacher) -> Method:
        """Return how images are made where `source` names no stored or real ones."""
        named = method_named(self.source) if self.source is not None else None
        if self.method is not None:
            return self.method
        kind = type(named) if named is not None else BNS if norm_layers(teacher) else Inception
        if kind is Inception:
            return Inception.balanced(teacher.spec, steps=20, lr=0.05, copies=1)
        if named is not None and kind is not BNS:
            return named
        painted = BNS(steps=100, lr=0.1, copies=0)  # images that match only unmoved would mislead a batch norm that sees them moved
        return replace(painted, copies=1, views=self.augmentation) if self.norms_learn and self.augmentation != "none" else painted

    def terms(self, teacher: Teacher) -> Terms:
        """Return what fine-tuning minimises."""
        return self.objective

    def check_terms(self, teacher: Teacher) -> None:
        """Raise `InputError`, before any image is made, where the objective can't compare the network with a copy of itself."""
        try:
            for phase in build_phases(self.terms(teacher)):
                phase.objective.fit(teacher, teacher)
        except InputError as error:
            raise InputError(f"objective: {error}; `--objective kd=1` compares answers alone") from error

    @property
    def norms_learn(self) -> bool:
        """Whether batch norm takes statistics from images that carry them, while the network is trained."""
        raise NotImplementedError

    def advise(self, teacher: Teacher, runtime: Runtime) -> Advice:
        """Say where images can't be made as they would be, for want of batch norm; return who says such things."""
        advice = Advice(quiet=runtime.fabric.global_rank > 0)
        if self.source is None and self.method is None and not norm_layers(teacher):
            *others, last = (name for name in remaining(teacher, None) if name != Inception.__name__)
            text = f"found: {norms_of(teacher).found}; the images are made by {Inception.__name__} in place of {BNS.__name__}"
            advice.give({"batch norm": f"{text}; {', '.join(others)} and {last} remain, too"})
        return advice

    def measured_on(self, spec: Spec, runtime: Runtime) -> Data | None:
        """Return the labelled images that measure accuracy, none of which is learned from; None where there are none."""
        if self.source == "data":
            if self.data is not None and self.eval_split == (self.split or "train"):
                raise InputError(
                    f"eval_split: the images of {self.eval_split!r} are learned from; give another split, or null for no accuracy"
                )
            return self.held_out(self.eval_split, "eval_split", spec, runtime)
        return self.held_out(self.split or "test", "split", spec, runtime)

    def samples(self, teacher: Teacher, method: Method, runtime: Runtime, clock: Clock, run: Run) -> Samples:
        """Return the images, from the run's own folders where it is resumed."""
        places = {"learned": run.folder / "pool", "fresh": run.folder / "acceptance"}
        if self.resume and all((place / "pool.json").is_file() for place in places.values()):
            kept = {name: Pool.load(place, device=runtime.device) for name, place in places.items()}
            before = read_json(places["learned"] / "pool.json")["provenance"]
            return Samples(**kept, origin=before["origin"], made=before["made"], method=before["method"])
        samples = find_samples(
            teacher,
            source=None if self.source is not None and method_named(self.source) is not None else self.source,
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
            provenance = {"teacher_sha256": model_hash(teacher), "seed": self.seed, **samples.provenance}
            samples.learned.save(places["learned"], provenance)
            samples.fresh.save(places["fresh"], provenance)
        return samples

    def likeness(self, samples: Samples, teacher: Teacher, runtime: Runtime) -> dict[str, Any]:
        """Return how like the training data the images are, as a metric; nothing where batch norm remembers nothing."""
        images = samples.learned.columns["images"]
        if not norm_layers(teacher) or len(images) < 4:
            return {}
        found = set_divergence(teacher, images, runtime, at=min(256, len(images)), seed=self.seed)
        return {"similarity": {samples.origin: asdict(found)}}

    @staticmethod
    def faults(samples: Samples, *, learned: bool) -> dict[str, str]:
        """Return what is wrong with images that were made, a text by kind; a class that is missing matters only where they are learned."""
        found = {} if samples.origin == "data" else pool_faults(samples.learned, method_named(samples.origin))
        return found if learned else {kind: text for kind, text in found.items() if kind != "classes"}

    def freezes(self, samples: Samples) -> bool:
        """Return whether batch norm keeps its statistics while the network learns from these images."""
        return not samples.carry_statistics if self.freeze_bn is None else self.freeze_bn

    def finetune_on(
        self,
        samples: Samples,
        teacher: Teacher,
        student: Network,
        held: Data | None,
        run: Run,
        clock: Clock,
        state: dict[str, Any] | None,
        runtime: Runtime,
        *,
        title: str,
        settle: Callable[[], object] | None = None,
    ) -> dict[str, Any]:
        """Fine-tune the student, write it into ``model/``, and return what is known of its averaged or selected weights.

        Where `select` names others than those of the last step, the student has these afterwards, and its scores before are returned too.
        `settle` is the last thing that is done to any weights before they are measured or handed over; training goes on without it.
        """

        def evaluate() -> Answers:
            assert held is not None
            if settle is None:
                return predict(student, held.batches(512), runtime)
            with wearing(student, student.model.state_dict()):
                settle()
                return predict(student, held.batches(512), runtime)

        stored = Stored(samples.learned, size=self.training.batch, seed=self.seed, device=runtime.device, augmentation=self.augmentation)
        source: Source = Mixed(stored, self.mixup, seed=self.seed) if self.mixup else stored
        generator = runtime.generator(self.seed, "objective")
        objective = build_phases(self.terms(teacher))
        asking: dict[str, Any] = {"teacher": teacher, "cache_teacher": self.cache_teacher}
        learner = Learner(student, source, objective, self.training, runtime=runtime, generator=generator, **asking)
        selection = Selection(student, select=self.select, ema=self.ema, patience=0)
        measure = evaluate if held is not None else None
        self.learn(learner, run, clock, state, title=title, evaluate=measure, selection=selection)
        last = measure().metrics("student") if measure is not None and self.select != "last" else {}
        metrics = {**learner.told, **self.hand_over(selection, run, measure), **last}
        if settle is not None:
            settle()
            save(student, run.folder / "model")
        return metrics

    @staticmethod
    def on_data(teacher: Network, student: Network, held: Data, runtime: Runtime, *, known: Mapping[str, Any]) -> dict[str, Any]:
        """Return what labelled images say of both networks, as metrics; scores of the student's last step that are `known` stay."""
        theirs, ours = (predict(one, held.batches(512), runtime) for one in (teacher, student))
        scores = {name: known.get(name, value) for name, value in ours.metrics("student").items()}
        found = {**theirs.metrics("teacher"), **scores, **ours.metrics_by_class("student")}
        return {**found, "agreement": ours.agreement(theirs), "evaluation_images": len(ours.labels)}
