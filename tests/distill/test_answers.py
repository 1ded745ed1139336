"""A teacher that is asked once: what is recalled is what was said, and nothing is kept that could be otherwise."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.loss import Needs
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe
from tacit.data.images import Augmentation, ImageSet
from tacit.distill import Learner, Source, Stored, Training, build_phases
from tacit.distill.answers import Answers
from tacit.distill.sources import Mixed
from tacit.zoo import resnet


def images(count: int = 40) -> ImageSet:
    draw = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 256, (count, 1, 8, 8), dtype=torch.uint8, generator=draw)
    return ImageSet(shown, torch.randint(0, 10, (count,), generator=draw))


def stored(count: int = 40, augmentation: Augmentation = "none") -> Stored:
    return Stored(images(count), size=16, seed=0, device=torch.device("cpu"), augmentation=augmentation)


def learner(
    objective: Any, teacher: Teacher, runtime: Runtime, cache: bool | None, *, source: Source | None = None, steps: int = 24
) -> Learner:
    torch.manual_seed(0)
    runtime.place(teacher)
    student = Network(resnet(8, channels=1, width=4), teacher.spec)
    runtime.place(student)
    training, generator = Training(steps=steps, batch=16, lr=0.02), torch.Generator().manual_seed(0)
    options: dict[str, Any] = {"runtime": runtime, "generator": generator, "teacher": teacher, "cache_teacher": cache}
    return Learner(student, source or stored(), build_phases(objective), training, **options)


def same(one: Learner, two: Learner) -> bool:
    """Whether two learners are where they are, to the last bit."""
    ours, theirs = ({**work.student.state_dict(), **work.losses.state_dict()} for work in (one, two))
    return all(torch.equal(value, theirs[key]) for key, value in ours.items()) and torch.equal(one.loss, two.loss)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("objective", ["kd=1", "kd=1,at=1000", "crd=1,ft=200,ofd=0.001,ce=1", "ab=0.003 @0.4; kd=1,at=100"])
def test_a_run_that_recalls_learns_the_very_same(objective: Any, precision: Any, teacher: Teacher) -> None:
    runtime = Runtime("cpu", precision)
    asking, recalling = (learner(objective, Teacher.of(teacher), runtime, cache) for cache in (False, None))
    for _ in range(24):
        asking.step()
        recalling.step()
        assert asking.parts.keys() == recalling.parts.keys()
        assert all(torch.equal(part, recalling.parts[name]) for name, part in asking.parts.items())
    assert same(asking, recalling)
    counted = recalling.answers.state_dict()
    assert counted["asked"] + counted["recalled"] == 24 * 16
    assert counted["recalled"] >= 0.4 * 24 * 16
    assert recalling.told["teacher_answers"] == counted
    assert "teacher_answers" not in asking.told
    assert asking.answers.bytes == 0


@pytest.mark.parametrize("form", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_what_is_recalled_has_the_bits_the_type_and_the_layout_of_what_was_said(form: Any, precision: Any, teacher: Teacher) -> None:
    runtime = Runtime("cpu", precision)
    asked = Teacher.of(teacher).to(memory_format=form)  # type: ignore[call-overload]
    taps = ("stages.1", "classifier:in")
    answers = Answers(asked, stored(), runtime, wanted=True)
    answers.begin(Needs(teacher_taps=taps), 1000)
    parts = [torch.arange(start, start + 16) % 40 for start in (0, 16, 32)]
    with torch.no_grad(), runtime.autocast(), Probe(asked, taps=taps) as ask:
        *_, first = [answers(part, partial(ask, images().batch(part).images)) for part in parts]
    second = answers(parts[-1], lambda: pytest.fail("it was asked again"))
    for one, two in ((first.logits, second.logits), *((first.features[tap], second.features[tap]) for tap in taps)):
        assert torch.equal(one, two)
        assert (one.dtype, one.stride(), one.shape) == (two.dtype, two.stride(), two.shape)
    assert first.features["stages.1"].dtype == (torch.float32 if precision == "32-true" else torch.bfloat16)
    assert answers.bytes == 40 * (10 * 4 + (16 * 4 * 4 + 32) * first.features["stages.1"].element_size())


def test_once_all_are_known_nothing_is_waited_for_though_batches_do_not_divide_the_set(teacher: Teacher, runtime: Runtime) -> None:
    source = Stored(images(130), size=32, seed=0, device=torch.device("cpu"), augmentation="none")
    answers, waits = Answers(teacher, source, runtime, wanted=True), list[int]()
    answers.begin(Needs(), 10**4)

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            waits.extend([answers.asked] * (func is torch.ops.aten._local_scalar_dense.default))
            return func(*args, **(kwargs or {}))

    with torch.no_grad(), Probe(teacher) as ask:
        for step in range(40):
            batch = source.batch(step)
            with Watch():  # type: ignore[no-untyped-call]
                answers(batch.index, partial(ask, batch.images))
    assert 4 * 32 < answers.asked < 10 * 32
    assert waits.count(answers.asked) == 1  # by which it was found that all are known


class Tokens(nn.Module):
    """Tokens of an image behind one of its class, which alone is classified, as a transformer does."""

    def __init__(self) -> None:
        super().__init__()
        self.token, self.body, self.head = nn.Linear(64, 6), nn.Linear(16, 6), nn.Linear(6, 10)

    def forward(self, x: Tensor) -> Tensor:
        patches = self.body(x.view(len(x), 4, 16))
        logits: Tensor = self.head(torch.cat([self.token(x.flatten(1))[:, None], patches], dim=1)[:, 0])
        return logits


@pytest.mark.parametrize("batch", [16, 1])
def test_rows_that_lie_apart_in_memory_are_kept_too_without_gaps(batch: int, teacher: Teacher, runtime: Runtime) -> None:
    asked, found = Teacher(Tokens(), teacher.spec), []
    for wanted in (False, True):
        answers = Answers(asked, stored(), runtime, wanted=wanted)
        answers.check(Needs(teacher_taps=("head:in",)))
        answers.begin(Needs(teacher_taps=("head:in",)), 1000)
        with torch.no_grad(), Probe(asked, taps=["head:in"]) as ask:
            parts = torch.split(torch.arange(40), batch)
            found += [answers(part, partial(ask, images().batch(part).images)).features["head:in"] for part in parts]
    found.append(answers(torch.arange(40), lambda: pytest.fail("it was asked again")).features["head:in"])
    assert (answers.asked, answers.recalled, answers.bytes) == (40, 40, 40 * (10 + 6) * 4)
    assert all(each.stride() == (6, 1) for each in found)
    first = torch.cat(found[: -(-40 // batch)])
    assert torch.equal(first, found[-1])


def test_a_run_on_the_token_of_a_class_learns_the_very_same_whether_it_recalls(teacher: Teacher, runtime: Runtime) -> None:
    asked = Teacher(Tokens(), teacher.spec)
    asking, recalling = (learner("pkt=1000,rkd=1,crd=1,ce=1", Teacher.of(asked), runtime, cache) for cache in (False, True))
    for _ in range(12):
        asking.step()
        recalling.step()
    assert same(asking, recalling)
    assert recalling.answers.recalled >= 0.4 * 12 * 16


def test_the_teacher_is_asked_once_of_each_image(teacher: Teacher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    work, shown = learner("kd=1", teacher, runtime, None, source=stored(32), steps=100), list[int]()
    plain = Teacher.forward

    def forward(self: Teacher, batch: Tensor) -> Tensor:
        shown.append(len(batch))
        return plain(self, batch)

    monkeypatch.setattr(Teacher, "forward", forward)
    for _ in range(10):
        work.step()
    assert shown == [16, 16]
    assert work.answers.state_dict() == {"asked": 32, "recalled": 128}


class Moody(nn.Module):
    """A network that normalises by the batch, or draws, in evaluation mode too."""

    def __init__(self, *, draws: bool) -> None:
        super().__init__()
        self.draws, self.norm = draws, nn.BatchNorm2d(1, track_running_stats=False)
        self.net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(144, 10))

    def forward(self, x: Tensor) -> Tensor:
        x = nn.functional.dropout(x, 0.5, training=True) if self.draws else self.norm(x)
        logits: Tensor = self.net(x)
        return logits


@pytest.mark.parametrize("draws", [False, True])
def test_answers_that_depend_on_company_or_chance_are_never_kept(draws: bool, teacher: Teacher, runtime: Runtime) -> None:
    torch.manual_seed(0)
    moody = Teacher(Moody(draws=draws), teacher.spec)
    before = torch.get_rng_state()
    answers = Answers(moody, stored(), runtime)
    answers.begin(Needs(), 10**6)
    assert not answers.keeps
    assert torch.equal(torch.get_rng_state(), before)
    with pytest.raises(InputError, match="cache_teacher: what the teacher says of an image depends on the others in its batch"):
        learner("kd=1", moody, runtime, True)


def test_answers_are_kept_only_where_images_stay_and_it_pays(teacher: Teacher, runtime: Runtime, monkeypatch: pytest.MonkeyPatch) -> None:
    def keeps(source: Source, *, looks: int = 1000, needs: Needs | None = None, wanted: bool | None = None) -> bool:
        answers = Answers(teacher, source, runtime, wanted=wanted)
        answers.begin(needs or Needs(), looks)
        return answers.keeps

    assert keeps(stored())
    assert not keeps(stored(augmentation="shift"))
    assert not keeps(Mixed(stored(), 1.0, seed=0))
    assert not keeps(stored(), looks=79)
    assert keeps(stored(), looks=80)
    assert not keeps(stored(), needs=Needs(teacher=False))
    assert not keeps(stored(), needs=Needs(bn=True))
    assert not keeps(stored(), wanted=False)
    taps = Needs(teacher_taps=("stages.0",))
    monkeypatch.setattr("tacit.distill.answers.BUDGET", 40 * (10 + 8 * 64) * 4)
    assert keeps(stored(), needs=taps)
    assert not keeps(stored(41), needs=taps)
    assert keeps(stored(41), needs=taps, wanted=True)
    assert keeps(stored(41))
    with pytest.raises(InputError, match=r"cache_teacher: expected images that stay as they are.*augmentation none"):
        learner("kd=1", teacher, runtime, True, source=stored(augmentation="shift"))
    assert learner("ce=1", teacher, runtime, True, source=stored(augmentation="shift")).answers.bytes == 0


def test_a_new_phase_keeps_what_is_of_use_and_forgets_the_rest(teacher: Teacher, runtime: Runtime) -> None:
    work, memory = learner("kd=1,at=1 @0.3; kd=1 @0.3; ab=0.003", teacher, runtime, None, steps=30), list[tuple[int, int]]()
    for _ in range(30):
        work.step()
        memory.append((work.answers.bytes, work.answers.asked))
    assert memory[8][0] > memory[9][0] == 40 * 10 * 4
    assert memory[8][1] == memory[17][1] < memory[18][1]
    assert memory[29][0] > memory[17][0]


@pytest.mark.parametrize("at", [1, 5, 12, 13])
def test_a_resumed_run_asks_again_and_learns_the_same(at: int, teacher: Teacher, runtime: Runtime, tmp_path: Path) -> None:
    whole = learner("at=1000 @0.5; kd=1,crd=1", teacher, runtime, None)
    for step in range(24):
        if step == at:
            torch.save(whole.state_dict(), tmp_path / "state.pt")
        whole.step()
    again = learner("at=1000 @0.5; kd=1,crd=1", teacher, runtime, None)
    again.load_state_dict(torch.load(tmp_path / "state.pt", weights_only=True), tmp_path)
    assert not again.answers.bytes
    for _ in range(24 - at):
        again.step()
    assert same(whole, again)
    assert sum(again.answers.state_dict().values()) == 24 * 16
