"""Sources: which images a student sees, and that it sees the same ones after a resume."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

import pytest
import torch
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.device import Clock, Runtime
from tacit.core.errors import InputError
from tacit.core.network import Teacher
from tacit.core.spec import Spec
from tacit.data import Augmentation, ImageSet, StreamedSet, digits
from tacit.data.load import load_data
from tacit.distill import Stored, Synthetic
from tacit.distill.sources import Mixed, Streamed
from tacit.synthesize import DFAD, Gaussian, Method, Pool, Synthesizer
from toy import Squares

CPU = torch.device("cpu")


def numbered(count: int) -> ImageSet:
    images = torch.zeros(count, 1, 4, 4, dtype=torch.uint8)
    images[:, 0, 1, 1] = torch.arange(count)
    return ImageSet(images, torch.arange(count))


def stored(count: int = 10, *, size: int = 3, seed: int = 0, augmentation: Augmentation = "none") -> Stored:
    return Stored(numbered(count), size=size, seed=seed, device=CPU, augmentation=augmentation)


def labels(batch: Batch) -> list[int]:
    assert batch.targets is not None
    found: list[int] = batch.targets.tolist()
    return found


def test_every_image_comes_once_an_epoch_and_the_rest_is_dropped() -> None:
    source = stored(12, size=3)
    for epoch in range(3):
        seen = [label for place in range(4) for label in labels(source.batch(4 * epoch + place))]
        assert sorted(seen) == list(range(12))
    source = stored(10, size=3)
    seen = [label for step in range(3) for label in labels(source.batch(step))]
    assert len(seen) == len(set(seen)) == 9


def test_epochs_differ_and_depend_on_the_seed_alone() -> None:
    def epochs(seed: int) -> list[list[int]]:
        torch.manual_seed(seed + 99)
        source = stored(12, size=12, seed=seed)
        return [labels(source.batch(step)) for step in range(3)]

    assert epochs(0) == epochs(0)
    assert epochs(0) != epochs(1)
    assert len({tuple(epoch) for epoch in epochs(0)}) == 3


def test_a_batch_larger_than_the_set_is_the_whole_set() -> None:
    assert sorted(labels(stored(4, size=128).batch(7))) == [0, 1, 2, 3]


@pytest.mark.parametrize("augmentation", ["none", "shift", "shift-flip", "crop-flip"])
def test_a_stored_source_goes_on_at_any_step(augmentation: Augmentation, tmp_path: Path) -> None:
    through = stored(augmentation=augmentation)
    batches = [through.batch(step) for step in range(8)]
    for step in range(8):
        resumed = stored(augmentation=augmentation)
        resumed.batch(0)
        resumed.load_state_dict(through.state_dict(), tmp_path)
        found = resumed.batch(step)
        assert torch.equal(found.images, batches[step].images)
        assert labels(found) == labels(batches[step])


def test_augmented_images_keep_labels_and_numbers_but_not_the_teachers_answers(teacher: Teacher) -> None:
    pool = Pool(teacher.spec)
    pool.add(Batch(torch.rand(6, 1, 8, 8), torch.arange(6), torch.eye(10)[:6]))
    plain = Stored(pool, size=6, seed=0, device=CPU).batch(0)
    moved = Stored(pool, size=6, seed=0, device=CPU, augmentation="shift").batch(0)
    assert plain.logits is not None
    assert plain.logits.argmax(dim=1).tolist() == labels(plain)
    assert moved.logits is None
    assert labels(moved) == labels(plain)
    assert moved.index is not None
    assert plain.index is not None
    assert torch.equal(moved.index, plain.index)
    assert not torch.equal(moved.images, plain.images)


def test_an_empty_pool_is_refused_as_a_source(teacher: Teacher) -> None:
    with pytest.raises(InputError, match="there are no images to learn from: the set is empty"):
        Stored(Pool(teacher.spec), size=4, seed=0, device=CPU)


def test_fewer_images_than_processes_are_refused_by_each_of_them() -> None:
    streamed = StreamedSet(Squares(), Spec(shape=(1, 4, 4), classes=5))
    count = len(streamed)
    for part in ((0, count + 1), (count, count + 1)):
        with pytest.raises(InputError, match=f"the set has {count} images for {count + 1} processes.*: use fewer devices"):
            Stored(numbered(count), size=4, seed=0, device=CPU, part=part)
        with pytest.raises(InputError, match=f"the set has {count} images for {count + 1} processes.*: use fewer devices"):
            Streamed(streamed, size=4, seed=0, device=CPU, part=part)
    assert len(Stored(numbered(count), size=4, seed=0, device=CPU, part=(count - 1, count)).batch(0).images) == 1


@pytest.mark.parametrize("augmentation", ["none", "shift-flip", "crop-flip"])
@pytest.mark.parametrize("workers", [0, 1])
def test_a_streamed_source_shows_what_a_stored_one_shows(augmentation: Augmentation, workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = load_data(Squares(), "train")
    assert isinstance(kept, ImageSet)
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    found = load_data(Squares(), "train")
    assert isinstance(found, StreamedSet)
    ours = Streamed(found, size=4, seed=3, device=CPU, augmentation=augmentation, workers=workers)
    theirs = Stored(kept, size=4, seed=3, device=CPU, augmentation=augmentation)
    for step in range(5 if workers == 0 else 2):
        left, right = ours.batch(step), theirs.batch(step)
        assert torch.equal(left.images, right.images)
        assert labels(left) == labels(right)


def test_a_streamed_source_goes_on_in_the_middle_of_an_epoch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.data.load.IN_MEMORY_BYTES", 10)
    found = load_data(Squares(), "train")
    assert isinstance(found, StreamedSet)

    def source() -> Streamed:
        return Streamed(found, size=3, seed=1, device=CPU, augmentation="shift", workers=0)

    through = source()
    batches = [through.batch(step) for step in range(7)]
    resumed = source()
    resumed.batch(0)
    resumed.load_state_dict(through.state_dict(), tmp_path)
    for step in range(4, 7):
        assert torch.equal(resumed.batch(step).images, batches[step].images)


@pytest.mark.parametrize("workers", [0, 1])
def test_what_is_wrong_with_a_streamed_image_is_said_in_one_line_whoever_read_it(workers: int) -> None:
    source = Streamed(StreamedSet(Squares(), Spec(shape=(1, 4, 4), classes=3)), size=10, seed=0, device=CPU, workers=workers)
    with pytest.raises(InputError, match=r"^image \d: labels run from [34] to [34], the model has 3 classes \(0 to 2\)$"):
        source.batch(0)


@dataclass(frozen=True, kw_only=True)
class Slow(Gaussian):
    """Noise with rounds that go on."""

    batch: int = 32
    warmup: int = 2
    every: int = 3


@dataclass(frozen=True, kw_only=True)
class Shown(DFAD):
    """A live generator whose images are shown until the next round."""

    shows: ClassVar[Literal["fresh", "again", "painted"]] = "again"


def synthetic(
    teacher: Teacher, runtime: Runtime, method: Method, *, size: int = 16, cap: int | None = None, augmentation: Augmentation = "none"
) -> Synthetic:
    synthesizer = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(0), student=teacher)
    return Synthetic(synthesizer, size=size, clock=Clock(), keep=cap, augmentation=augmentation)


def rows(images: Tensor) -> set[tuple[int, ...]]:
    return {tuple(row) for row in images.mul(255).round().int().flatten(1).tolist()}


def test_the_warm_up_is_made_before_the_first_batch_and_a_round_comes_every_so_many_steps(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow())
    assert len(list(source.prepare())) == 2
    rounds = []
    for step in range(8):
        source.batch(step)
        rounds.append(source.synthesizer.rounds)
    assert rounds == [2, 2, 2, 3, 3, 3, 4, 4]
    assert source.images_made == 4 * 32
    assert (source.pool.made, source.held_out.made) == (4 * 30, 4 * 2)


def test_a_method_without_warm_up_paints_at_the_first_step(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow(warmup=0))
    assert list(source.prepare()) == []
    source.batch(0)
    assert source.synthesizer.rounds == 1


def test_a_method_that_only_warms_up_paints_no_more(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Gaussian(batch=16, warmup=1))
    list(source.prepare())
    for step in range(5):
        source.batch(step)
    assert source.synthesizer.rounds == 1


def test_the_pool_must_be_prepared(teacher: Teacher, runtime: Runtime) -> None:
    with pytest.raises(RuntimeError, match="go through `prepare"):
        synthetic(teacher, runtime, Slow()).batch(1)


def test_images_that_are_held_out_are_never_shown_to_the_student(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow(), size=64)
    list(source.prepare())
    shown: set[tuple[int, ...]] = set()
    for step in range(12):
        shown |= rows(source.batch(step).images)
    held = rows(source.unseen().images)
    assert len(held) == 2 * source.synthesizer.rounds
    assert not held & shown
    assert not held & rows(source.pool.batch(torch.arange(len(source.pool))).images)


def test_pooled_images_come_with_the_teachers_answer_to_these_very_images(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow())
    list(source.prepare())
    batch = source.batch(1)
    assert batch.logits is not None
    torch.testing.assert_close(batch.logits, teacher(batch.images), rtol=1e-4, atol=1e-4)
    assert synthetic_answer(source).logits is None


def synthetic_answer(source: Synthetic) -> Batch:
    source.augmentation = "shift"
    return source.batch(2)


def test_the_pool_of_a_source_keeps_its_cap(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow(), cap=40)
    list(source.prepare())
    source.batch(3)
    assert (len(source.pool), source.pool.made) == (40, 90)


def test_an_image_of_a_pool_keeps_its_number_when_older_ones_are_forgotten(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow(), cap=40)
    list(source.prepare())
    for step in range(6):
        shown = source.batch(step)
        assert shown.index is not None
        assert bool((shown.index >= source.pool.first).all())
        kept = source.pool.columns["images"][shown.index - source.pool.first]
        torch.testing.assert_close(shown.images.mul(255).round(), kept.float())
    assert source.pool.first > 0


def test_a_live_generator_shows_fresh_images_at_every_step_and_counts_them(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, DFAD(batch=8, every=2, latent=8, width=4), size=5)
    list(source.prepare())
    shown = [source.batch(step).images for step in range(4)]
    assert source.synthesizer.rounds == 2
    assert not torch.equal(shown[0], shown[1])
    assert (source.images_made, len(source.pool)) == (20, 0)
    assert source.unseen(7).images.shape == (7, 1, 8, 8)


def test_a_method_may_show_the_same_images_until_its_next_round(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Shown(batch=8, every=2, latent=8, width=4), size=5)
    shown = [source.batch(step).images for step in range(4)]
    assert torch.equal(shown[0], shown[1])
    assert torch.equal(shown[2], shown[3])
    assert not torch.equal(shown[1], shown[2])
    assert len(shown[0]) == 8
    assert source.images_made == 16


@pytest.mark.parametrize(
    "method",
    [Slow(), DFAD(batch=8, every=2, latent=8, width=4), Shown(batch=8, every=3, latent=8, width=4)],
    ids=lambda method: method.name,
)
@pytest.mark.parametrize("stop", [1, 4])
def test_a_synthetic_source_goes_on_where_it_was(method: Method, stop: int, teacher: Teacher, runtime: Runtime, tmp_path: Path) -> None:
    through = synthetic(teacher, runtime, method, augmentation="shift", cap=70)
    list(through.prepare())
    for step in range(stop):
        through.batch(step)
    through.save(tmp_path)
    torch.save(through.state_dict(), tmp_path / "state.pt")
    expected = [through.batch(step).images for step in range(stop, stop + 5)]
    resumed = synthetic(teacher, runtime, method, augmentation="shift", cap=70)
    resumed.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), tmp_path)
    assert list(resumed.prepare()) == []
    for step, images in zip(range(stop, stop + 5), expected, strict=True):
        assert torch.equal(resumed.batch(step).images, images)
    assert torch.equal(resumed.unseen(4).images, through.unseen(4).images)
    assert resumed.images_made == through.images_made


def test_seconds_of_painting_count_as_synthesis(teacher: Teacher, runtime: Runtime) -> None:
    source = synthetic(teacher, runtime, Slow())
    list(source.prepare())
    assert source.clock.seconds["synthesis"] > 0
    assert source.clock.seconds["training"] == 0


def test_a_stored_source_of_the_digits_reaches_every_class() -> None:
    source = Stored(digits("train"), size=128, seed=0, device=CPU, augmentation="shift")
    assert set(labels(source.batch(0))) == set(range(10))


class Marks:
    """The same images at every step, each of one grey."""

    most_steps: int | None = None
    gives_targets, pieces = True, 0

    def __init__(self, greys: Tensor) -> None:
        self.greys = greys

    def batch(self, step: int, rate: float = 1.0) -> Batch:
        return Batch(self.greys.view(-1, 1, 1, 1).expand(-1, 1, 2, 2), torch.arange(len(self.greys)))

    def prepare(self) -> Any:
        yield from ()

    def save(self, folder: Path) -> None:
        pass

    def state_dict(self) -> dict[str, Any]:
        return {"at": 3}

    def load_state_dict(self, state: dict[str, Any], folder: Path) -> None:
        pass


def test_mixed_images_are_between_two_of_their_batch_and_depend_on_seed_and_step_alone() -> None:
    marks = Marks(torch.tensor([0.0, 1.0, 10.0, 11.0]))
    mixed = Mixed(marks, 0.5, seed=1)
    found, again, later = mixed.batch(0), Mixed(marks, 0.5, seed=1).batch(0), mixed.batch(1)
    assert torch.equal(found.images, again.images)
    assert not torch.equal(found.images, later.images)
    assert found.targets is None
    assert not mixed.gives_targets
    assert float(found.images.min()) >= 0
    assert float(found.images.max()) <= 11
    assert mixed.state_dict() == {"at": 3}
    with pytest.raises(InputError, match="mixup: expected a positive number"):
        Mixed(marks, 0.0, seed=0)


@pytest.mark.parametrize("alpha", [0.5, 4.0])
def test_the_shares_of_mixed_images_follow_a_beta_distribution(alpha: float) -> None:
    found = Mixed(Marks(torch.arange(8000) % 2.0), alpha, seed=0).batch(0).images[:, 0, 0, 0]
    shares = found[(found > 0) & (found < 1)]  # of black mixed with white; about half of all are mixed with their like
    beta = torch.distributions.Beta(alpha, alpha)
    assert 3500 < len(shares) < 4500
    assert float(shares.mean()) == pytest.approx(float(beta.mean), abs=0.02)
    assert float(shares.var()) == pytest.approx(float(beta.variance), rel=0.08)
