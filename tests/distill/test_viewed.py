"""Paired views: one augmentation for both, aligned with labels and numbers, from sets in memory and from disk."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor

from tacit.core.batch import Batch
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import Loss, Needs, Objective, View
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.data import ImageSet, Modality, StreamedSet, find_modality
from tacit.distill import Learner, Stored, Training, build_objective
from tacit.distill.sources import Mixed, Source, Streamed, Unlabelled, Viewed
from tacit.losses import CRD
from toy import BNNet

CPU = torch.device("cpu")
FIRST = Modality(name="first", show=lambda images: images[:, :1], source=lambda seen: (2, *seen[1:]))
SECOND = Modality(name="second", show=lambda images: 1 - images[:, 1:], source=lambda seen: (2, *seen[1:]))


def twins(count: int = 12) -> ImageSet:
    """Two channels of the same random picture, whose corner tells its number, which is also its label."""
    picture = torch.randint(1, 200, (count, 1, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    picture[:, :, 8, 8] = torch.arange(count, dtype=torch.uint8)[:, None] + 200
    return ImageSet(picture.repeat(1, 2, 1, 1), torch.arange(count))


class Rows:
    """The same as a set on disk is read."""

    def __init__(self, images: ImageSet) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        return self.images.images[number], int(self.images.labels[number])


def source(kind: str, *, size: int = 5, seed: int = 0) -> Source:
    if kind == "stored":
        return Stored(twins(), size=size, seed=seed, device=CPU, augmentation="shift-flip")
    return Streamed(StreamedSet(Rows(twins())), size=size, seed=seed, device=CPU, augmentation="shift-flip", workers=0)


@pytest.mark.parametrize("kind", ["stored", "streamed"])
def test_both_networks_see_the_same_picture_moved_and_mirrored_alike(kind: str) -> None:
    viewed, alone = Viewed(source(kind), FIRST, SECOND), source(kind)
    as_stored, moved = twins().batch(torch.arange(12)).images, 0
    for step in range(4):
        batch, whole = viewed.batch(step), alone.batch(step)
        assert batch.student_images is not None
        assert torch.equal(batch.images, whole.images[:, :1])
        assert torch.allclose(1 - batch.student_images, batch.images), "what is shifted or mirrored for one is for the other"
        assert batch.index is not None
        moved += int((batch.images != as_stored[batch.index][:, :1]).flatten(1).any(dim=1).sum())
    assert moved > 15, "most were moved or mirrored"


def noisy(images: Tensor) -> Tensor:
    return (images[:, :1] + 0.1 * torch.rand_like(images[:, :1])).clamp(0, 1)


@pytest.mark.parametrize("kind", ["stored", "streamed"])
def test_a_view_that_is_drawn_at_random_does_not_stay_as_it_is(kind: str) -> None:
    sources: dict[str, Source] = {
        "stored": Stored(twins(), size=5, seed=0, device=CPU),
        "streamed": Streamed(StreamedSet(Rows(twins())), size=5, seed=0, device=CPU, workers=0),
    }
    whole = sources[kind]
    before = torch.get_rng_state()
    assert Viewed(whole, FIRST, SECOND).fixed
    assert not Viewed(whole, Modality(name="noisy", show=noisy, source=FIRST.source), SECOND).fixed
    assert torch.equal(torch.get_rng_state(), before)
    assert not Viewed(source(kind), FIRST, SECOND).fixed


@pytest.mark.parametrize("kind", ["stored", "streamed"])
def test_pairs_stay_with_their_labels_and_numbers(kind: str) -> None:
    viewed = Viewed(source(kind), FIRST, SECOND)
    assert (viewed.gives_targets, viewed.population) == (True, 12)
    for step in range(4):
        batch = viewed.batch(step)
        assert batch.targets is not None
        assert batch.index is not None
        assert batch.student_images is not None
        assert torch.equal(batch.targets, batch.index)
        marks = (batch.images.flatten(1).amax(dim=1) * 255).round().long() - 200
        theirs = ((1 - batch.student_images).flatten(1).amax(dim=1) * 255).round().long() - 200
        assert marks.tolist() == theirs.tolist() == batch.targets.tolist()


def test_one_view_is_for_both_and_a_teachers_stored_answers_do_not_pass() -> None:
    class Answered(Stored):
        def batch(self, step: int, rate: float = 1.0) -> Batch:
            found = super().batch(step, rate)
            return Batch(found.images, found.targets, logits=torch.zeros(len(found.images), 3), index=found.index)

    batch = Viewed(Answered(twins(), size=4, seed=0, device=CPU), FIRST).batch(0)
    assert (batch.student_images, batch.logits) == (None, None)
    assert batch.images.shape == (4, 1, 16, 16)


def test_a_batch_is_cut_with_both_views() -> None:
    batch = Viewed(source("stored"), FIRST, SECOND).batch(0).at(slice(1, 3))
    assert batch.student_images is not None
    assert batch.student_images.shape == (2, 1, 16, 16)
    assert torch.allclose(1 - batch.student_images, batch.images)


def test_the_labels_of_an_unlabelled_source_are_shown_to_nobody() -> None:
    found = Unlabelled(Viewed(source("stored"), FIRST, SECOND))
    batch = found.batch(0)
    assert not found.gives_targets
    assert batch.targets is None
    assert batch.index is not None
    assert batch.student_images is not None
    assert found.population == 12


def test_a_mixed_source_has_no_numbers_any_more() -> None:
    mixed = Mixed(Viewed(source("stored"), FIRST), 1.0, seed=0)
    assert (mixed.gives_targets, mixed.population) == (False, None)
    assert mixed.batch(0).index is None


@pytest.mark.parametrize("kind", ["stored", "streamed"])
def test_views_go_on_at_any_step(kind: str, tmp_path: Path) -> None:
    through = Viewed(source(kind), FIRST, SECOND)
    batches = [through.batch(step) for step in range(5)]
    for step in range(5):
        resumed = Viewed(source(kind), FIRST, SECOND)
        resumed.batch(0)
        resumed.load_state_dict(through.state_dict(), tmp_path)
        found, wanted = resumed.batch(step), batches[step]
        assert torch.equal(found.images, wanted.images)
        assert found.student_images is not None
        assert wanted.student_images is not None
        assert torch.equal(found.student_images, wanted.student_images)


class Noted(Loss):
    """Keeps what it was shown."""

    needs = Needs(teacher=True, student=True)

    def forward(self, view: View) -> Tensor:
        self.view = view
        return view.student.logits.square().mean()


def pair(student_channels: int = 1) -> tuple[Teacher, Network]:
    torch.manual_seed(0)
    teacher = Teacher(BNNet(channels=1, classes=12), Spec(shape=(1, 16, 16), classes=12))
    return teacher, Network(BNNet(channels=student_channels, classes=12), Spec(shape=(student_channels, 16, 16), classes=12))


def test_each_network_is_asked_about_its_own_view_and_losses_see_the_teachers(runtime: Runtime) -> None:
    (teacher, student), noted = pair(), Noted()
    before = Network(BNNet(channels=1, classes=12), student.spec)
    before.load_state_dict(student.state_dict())
    viewed = Viewed(source("stored"), FIRST, SECOND)
    training = Training(steps=2, batch=5)
    learner = Learner(
        student, viewed, Objective(noted=(1.0, noted)), training, runtime=runtime, generator=runtime.generator(0), teacher=teacher
    )
    learner.step()
    batch = Viewed(source("stored"), FIRST, SECOND).batch(0)
    assert batch.student_images is not None
    assert torch.equal(noted.view.images, batch.images)
    assert torch.allclose(noted.view.teacher.logits, teacher(batch.images), atol=1e-6)
    before.train()
    assert torch.allclose(noted.view.student.logits, before(batch.student_images), atol=1e-6)
    assert not torch.allclose(noted.view.student.logits, before(batch.images), atol=1e-3)


def test_crd_fills_one_row_an_image_without_labels_and_excludes_none_but_the_image_itself(runtime: Runtime) -> None:
    teacher, student = pair()
    unlabelled = Unlabelled(Viewed(source("stored", size=12), FIRST, SECOND))
    crd = CRD(width=8, negatives=64)
    training = Training(steps=4, batch=12, lr=0.05)
    learner = Learner(
        student, unlabelled, Objective(crd=(1.0, crd)), training, runtime=runtime, generator=runtime.generator(0), teacher=teacher
    )
    buffers = {name.rpartition(".")[2]: value for name, value in crd.named_buffers()}
    sides, labels = [buffers["student"], buffers["teacher"]], buffers["labels"]
    assert [side.shape for side in sides] == [(12, 8)] * 2
    before = [side.clone() for side in sides]
    for _ in range(4):
        learner.step()
    assert bool(torch.isfinite(learner.loss))
    moved = [bool((side != old).any(dim=1).all()) for side, old in zip(sides, before, strict=True)]
    assert all(moved), "every row"
    assert labels.tolist() == [-1] * 12, "no label was seen"


def test_layers_are_matched_by_a_dry_run_of_each_network_on_images_of_its_own_shape(runtime: Runtime) -> None:
    torch.manual_seed(0)
    small = find_modality("small2")
    teacher = Teacher(BNNet(channels=2, classes=12), Spec(shape=(2, 16, 16), classes=12))
    student = Network(BNNet(channels=2, classes=12, width=3), Spec(shape=(2, 8, 8), classes=12))
    objective = build_objective("at=1,crd=1,fitnet=1,kd=1,sp=1")
    learner = Learner(
        student,
        Viewed(source("stored"), find_modality("full"), small),
        objective,
        Training(steps=1, batch=5),
        runtime=runtime,
        generator=runtime.generator(0),
        teacher=teacher,
    )
    learner.step()
    assert set(learner.parts) == {"at", "crd", "fitnet", "kd", "sp"}
    assert all(bool(torch.isfinite(part)) for part in learner.parts.values())


def test_labels_that_an_objective_wants_are_missed_where_nobody_is_shown_any(runtime: Runtime) -> None:
    teacher, student = pair()
    with pytest.raises(InputError, match="learns from labels"):
        Learner(
            student,
            Unlabelled(source("stored")),
            build_objective("ce=1"),
            Training(),
            runtime=runtime,
            generator=runtime.generator(0),
            teacher=teacher,
        )
