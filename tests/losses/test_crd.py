"""CRD against a slow reference written from the formula, against what is known of its start, and its memories against loops."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from tacit.core.errors import InputError
from tacit.core.loss import View
from tacit.core.match import Layer, Match
from tacit.core.network import Ensemble, Network, Teacher, members
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import CRD
from tacit.losses.crd import infonce_loss, nce_loss
from tacit.losses.embeddings import sphere_log_mean
from toy import BNNet

SPEC = Spec(shape=(1, 6, 6), classes=5)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def ready(population: int | None, *, teacher: int = 6, student: int = 5, pairs: int = 1, **options: Any) -> CRD:
    """Return the loss between vectors of these lengths, with a memory of so many rows."""
    torch.manual_seed(0)
    loss = CRD([f"t{n}" for n in range(pairs)], [f"s{n}" for n in range(pairs)], **options)
    matched = [Match(Layer(f"t{n}", (teacher,), -math.inf), Layer(f"s{n}", (student,), -math.inf)) for n in range(pairs)]
    loss.build(matched)
    loss.attach(population)
    return loss


def shown(size: int, *, teacher: int = 6, student: int = 5, pairs: int = 1, seed: int = 0, **more: Any) -> tuple[View, list[Tensor]]:
    """Return a view of random features, and the student's, which want a gradient."""
    draw = seeded(seed)
    logits = torch.zeros(size, 5)
    ours = [torch.randn(size, student, generator=draw).requires_grad_() for _ in range(pairs)]
    theirs = {f"t{n}": torch.randn(size, teacher, generator=draw) for n in range(pairs)}
    answered: Mapping[str, Tensor] = {f"s{n}": feature for n, feature in enumerate(ours)}
    options: dict[str, Any] = {"index": torch.arange(size), "generator": seeded(seed + 1), **more}
    return View(torch.zeros(size, 1, 1, 1), teacher=Signals(logits, theirs), student=Signals(logits, answered), **options), ours


def as_they_are(loss: CRD, theirs: Tensor, labels: Tensor) -> Any:
    """Return the pair of a loss with features that are embeddings already, and these in its queue."""
    (pair,) = loss._pairs()
    for head in pair.heads:
        nn.init.eye_(head.get_parameter("weight"))
        nn.init.zeros_(head.get_parameter("bias"))
    pair.push(theirs, labels, torch.full((len(labels),), -1), len(labels))
    return pair


def counted(negatives: Tensor, excluded: Tensor) -> list[list[Tensor]]:
    """Return the negatives of each row that count."""
    return [[score for score, out in zip(*row, strict=True) if not bool(out)] for row in zip(negatives, excluded, strict=True)]


def slow_nce(positive: Tensor, negatives: Tensor, excluded: Tensor, log_mean: float) -> Tensor:
    """The formula with its exponentials, in doubles: h = P / (P + K / N), with P = exp(s) / Z and Z = N mean exp(s)."""
    total = torch.zeros((), dtype=torch.double)
    for own, kept in zip(positive, counted(negatives, excluded), strict=True):
        noise = len(kept) * math.exp(log_mean)
        total = total - torch.log(own.exp() / (own.exp() + noise))
        for score in kept:
            total = total - torch.log(1 - score.exp() / (score.exp() + noise))
    return total / len(positive)


def slow_infonce(positive: Tensor, negatives: Tensor, excluded: Tensor) -> Tensor:
    """The same of the cross-entropy: - ln exp(s) / (exp(s) + sum over negatives of exp)."""
    total = torch.zeros((), dtype=torch.double)
    for own, kept in zip(positive, counted(negatives, excluded), strict=True):
        total = total - torch.log(own.exp() / (own.exp() + sum(score.exp() for score in kept)))
    return total / len(positive)


def close(found: Tensor, wanted: Tensor, parameters: list[Tensor], theirs: list[Tensor] | None = None) -> None:
    """Hold a value, and its gradients by these parameters, against another's by the same ones, or by others, to 1e-5."""
    assert float(found.detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)
    gradients = (torch.autograd.grad(each, by) for each, by in ((found, parameters), (wanted, theirs or parameters)))
    for one, other in zip(*gradients, strict=True):
        assert bool(other.any())
        torch.testing.assert_close(one.double(), other.double(), rtol=1e-5, atol=1e-5 * float(other.abs().max()))


def test_both_forms_and_their_gradients_are_those_of_the_formulas() -> None:
    draw = seeded()
    positive, negatives = (torch.randn(*shape, generator=draw, dtype=torch.double).requires_grad_() for shape in ((4,), (4, 7)))
    excluded = torch.rand(4, 7, generator=draw) < 0.3
    assert 0 < int(excluded.sum()) < 28
    for found, wanted in (
        (nce_loss(positive, negatives, excluded, 0.8), slow_nce(positive, negatives, excluded, 0.8)),
        (infonce_loss(positive, negatives, excluded), slow_infonce(positive, negatives, excluded)),
    ):
        close(found, wanted, [positive, negatives])


def test_at_the_start_the_loss_is_what_is_known_of_random_memories() -> None:
    """2 (ln K + 1 / (2 d T^2) + 1) = 23.0 for d = 128, K = 16384, T = 0.07, N = 50,000, batches of 64; one draw scatters by 0.26."""
    loss, found = ready(50_000, teacher=64, student=32), []
    assert (loss.kind, loss.form, loss.normaliser, loss.width, loss.negatives) == ("memory", "nce", "analytic", 128, 16384)
    for seed in range(20):
        torch.manual_seed(seed)
        for pair in loss._pairs():
            pair.fill(50_000)
        view, _ = shown(64, teacher=64, student=32, seed=seed, index=torch.randperm(50_000, generator=seeded(seed))[:64])
        found.append(float(loss(view).detach()))
    wanted = 2 * (math.log(16384) + 1 / (2 * 128 * 0.07**2) + 1)
    assert wanted == pytest.approx(23.0, abs=0.01)
    assert sum(found) / len(found) == pytest.approx(wanted, abs=0.15)


@pytest.mark.parametrize("normaliser", ["analytic", "first"])
def test_the_normaliser_of_random_memories_is_known(normaliser: Any) -> None:
    """Z / N = mean exp(s) = exp(1 / (2 d T^2)) within 0.5 %: as it is known, and as it is measured."""
    loss = ready(50_000, teacher=64, student=32, normaliser=normaliser)
    (pair,) = loss._pairs()
    anchors = F.normalize(torch.randn(256, 128, generator=seeded()), dim=1)
    scores = anchors @ pair.held(0).T / 0.07
    found = math.exp(float(loss._log_mean(pair, 1, scores, torch.zeros_like(scores, dtype=torch.bool))))
    assert found == pytest.approx(float(scores.double().exp().mean()), rel=5e-3)
    assert found == pytest.approx(math.exp(1 / (2 * 128 * 0.07**2)), rel=5e-3)


@pytest.mark.parametrize("temperature", [0.05, 0.07, 0.5, 10.0])
@pytest.mark.parametrize("width", [1, 2, 3, 8, 16, 128])
def test_the_mean_over_the_sphere_is_that_of_closed_forms_and_of_a_sum_over_angles(width: int, temperature: float) -> None:
    """The density of an angle a is proportional to sin(a)^(d - 2); on a circle it is even, and d = 1 has two points."""
    scale = 1 / temperature
    angles = (np.arange(200_000) + 0.5) * np.pi / 200_000
    density = np.sin(angles) ** (width - 2.0)
    summed = float((np.exp(scale * np.cos(angles)) * density).sum() / density.sum())
    wanted = {1: math.cosh(scale), 2: float(np.i0(scale)), 3: math.sinh(scale) / scale}.get(width, summed)
    assert math.exp(sphere_log_mean(width, temperature)) == pytest.approx(wanted, rel=1e-9)
    assert width == 1 or summed == pytest.approx(wanted, rel=1e-6)
    assert CRD(width=width, temperature=temperature).log_mean == sphere_log_mean(width, temperature)


def test_the_mean_over_the_sphere_in_few_dimensions_is_not_that_of_a_normal_distribution() -> None:
    """1 / (2 d T^2) is the first term of ln mean: 6.38 at d = 16 and T = 0.07, where the mean over the sphere is exp(5.07)."""
    assert sphere_log_mean(16, 0.07) == pytest.approx(5.07, abs=0.005)
    assert math.exp(sphere_log_mean(128, 0.07)) == pytest.approx(math.exp(1 / (2 * 128 * 0.07**2)), rel=5e-3)
    vectors = F.normalize(torch.randn(2_000_000, 16, generator=seeded(), dtype=torch.double), dim=1)
    assert float((vectors[:, 0] / 0.2).exp().mean().log()) == pytest.approx(sphere_log_mean(16, 0.2), abs=5e-3)
    assert sphere_log_mean(4, 1e-9) == pytest.approx(1e9, rel=1e-6)


def slow_crd(loss: CRD, view: View, ours: Tensor) -> Tensor:
    """Both sides of CRD in doubles, by heads and the student's features in doubles, image by image; every row there is, is a negative."""
    (pair,), assumed = loss._pairs(), sphere_log_mean(loss.width, loss.temperature)
    taught = view.teacher.features["t0"].double()
    embedded = [F.normalize(head(features), dim=1) for head, features in zip(pair.heads, (ours, taught), strict=True)]
    assert view.index is not None
    here = (view.index.tolist(), [math.nan] * len(ours) if view.targets is None else view.targets.tolist())  # nan is no label's equal
    before = (pair.get_buffer("numbers").tolist(), pair.get_buffer("labels").tolist())
    total = torch.zeros((), dtype=torch.double)
    for side in (0, 1):
        anchors, others = embedded[side], embedded[1 - side]
        positives, keys, marks = others, others, here
        if loss.kind == "memory":  # all that it shows was made before, and is not taught
            positives, keys, marks = pair.held(1 - side)[view.index].double(), pair.held(1 - side).double(), before
        elif loss.kind == "queue" and side == 0:  # the positive is of the batch, and teaches both heads; the negatives teach none
            keys, marks = F.normalize(pair.heads[1](pair.held(1).double()), dim=1).detach(), before
        positive = torch.stack([(anchor @ other) / loss.temperature for anchor, other in zip(anchors, positives, strict=True)])
        scores = torch.stack([torch.stack([anchor @ key for key in keys]) for anchor in anchors]) / loss.temperature
        excluded = torch.tensor(
            [[number == own or label == known for number, known in zip(*marks, strict=True)] for own, label in zip(*here, strict=True)]
        )
        if loss.form == "infonce":
            total = total + slow_infonce(positive, scores, excluded)
            continue
        measured = float(scores[~excluded].exp().mean().log().detach())
        total = total + slow_nce(positive, scores, excluded, assumed if loss.normaliser == "analytic" else measured)
    return total


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("form", ["nce", "infonce"])
@pytest.mark.parametrize("bank", ["memory", "queue", "batch"])
def test_crd_is_its_slow_reference_in_value_and_gradient(bank: Any, form: Any, labelled: bool) -> None:
    loss = ready(9, width=8, temperature=0.5, bank=bank, form=form)
    (pair,), labels = loss._pairs(), torch.tensor([0, 1, 0, 2])
    for seed in (1, 2):  # what is remembered, partly of the images that come again
        before, _ = shown(4, seed=seed, targets=labels, index=torch.arange(4) + 2 * (seed - 1))
        loss(before)
        loss.remember(before)
    pair.get_buffer("log_mean").fill_(-math.inf)
    view, (ours,) = shown(4, targets=labels if labelled else None)
    doubled = copy.deepcopy(loss)
    doubled._pairs()[0].heads.double()
    theirs = ours.detach().double().requires_grad_()
    close(loss(view), slow_crd(doubled, view, theirs), [ours, *loss.parameters()], [theirs, *doubled.parameters()])


def test_features_in_half_precision_do_no_harm() -> None:
    loss = ready(64, negatives=32)
    view, _ = shown(8)
    low = View(
        view.images,
        teacher=Signals(view.teacher.logits, {"t0": view.teacher.features["t0"].half() * 1000}),
        student=Signals(view.student.logits, {"s0": view.student.features["s0"].half() * 1000}),
        index=view.index,
        generator=seeded(),
    )
    value = loss(low)
    assert value.dtype == torch.float32
    assert bool(torch.isfinite(value))
    assert float(value.detach()) == pytest.approx(float(loss(shown(8, generator=seeded())[0]).detach()), rel=0.05)


@pytest.mark.parametrize(("bank", "form"), [("memory", "nce"), ("queue", "infonce"), ("batch", "infonce")])
def test_embeddings_just_made_are_told_apart_by_cross_entropy_where_no_form_is_asked_for(bank: Any, form: Any) -> None:
    def value(**options: Any) -> float:
        loss = ready(64, bank=bank, **options)
        for step in range(2):
            view, _ = shown(8, seed=step)
            found = float(loss(view).detach())
            loss.remember(view)
        return found

    assert value() == value(form=form) != value(form="infonce" if form == "nce" else "nce")


@pytest.mark.parametrize("bank", ["memory", "queue", "batch"])
def test_whatever_is_around_it_the_loss_is_in_full_precision(bank: Any) -> None:
    values, kept = [], []
    for low in (False, True):
        loss = ready(64, bank=bank)
        with torch.autocast("cpu", torch.bfloat16, enabled=low):
            for step in range(2):
                view, _ = shown(8, seed=step)
                value = loss(view)
                loss.remember(view)
        values.append(float(value.detach()))
        kept.append(loss.state_dict())
    assert values[0] == values[1]
    assert all(torch.equal(value, kept[1][name]) for name, value in kept[0].items())


@pytest.mark.parametrize(("momentum", "kept"), [(None, 0.5), (0.9, 0.9)])
def test_a_row_of_the_memory_moves_half_way_or_as_asked_and_stays_on_the_sphere(momentum: float | None, kept: float) -> None:
    loss = ready(6, width=8, momentum=momentum)
    view, _ = shown(3, index=torch.tensor([4, 0, 2]), targets=torch.tensor([1, 2, 3]))
    (pair,) = loss._pairs()
    before = torch.stack([pair.held(0), pair.held(1)])
    loss(view)
    with torch.no_grad():
        ((answered, taught),) = loss.seen(view)
        new = torch.stack([pair.embed(0, answered), pair.embed(1, taught)])
    loss.remember(view)
    after = torch.stack([pair.held(0), pair.held(1)])
    torch.testing.assert_close(after[:, [4, 0, 2]], F.normalize(kept * before[:, [4, 0, 2]] + (1 - kept) * new, dim=2))
    assert torch.equal(after[:, [1, 3, 5]], before[:, [1, 3, 5]])
    assert pair.get_buffer("labels").tolist() == [2, -1, 3, -1, 1, -1]


def test_a_queue_keeps_what_the_teacher_said_last_and_embeds_it_by_the_head_of_now() -> None:
    loss = ready(None, width=8, bank="queue", rows=5)
    (pair,) = loss._pairs()
    for number in range(3):
        view, _ = shown(2, seed=number, targets=torch.tensor([number, number]), index=None)
        assert bool(torch.isfinite(loss(view)))
        loss.remember(view)
    assert pair.get_buffer("labels").tolist() == [0, 1, 1, 2, 2]
    assert pair.get_buffer("numbers").tolist() == [-1] * 5
    ((_, taught),) = loss.seen(view)
    assert torch.equal(pair.held(1)[-2:], taught)
    assert (len(pair.held(0)), len(pair.held(1))) == (0, 5)
    anchors, scores = F.normalize(torch.ones(1, 8), dim=1), []
    for _ in range(2):
        scores.append(loss._negatives(pair, 0, anchors, None, None, view)[0])
        torch.testing.assert_close(scores[-1], anchors @ pair.embed(1, pair.held(1)).T / 0.07)
        assert not scores[-1].requires_grad  # nothing flows to what was seen before
        with torch.no_grad():
            pair.heads[1].get_parameter("weight").neg_()
    assert not torch.equal(*scores)
    assert loss._latest == []


@pytest.mark.parametrize("form", ["nce", "infonce"])
def test_an_image_that_is_twice_in_a_batch_is_not_its_own_negative(form: Any) -> None:
    twice, values = torch.tensor([3, 3, 7]), []
    for known in ({"index": twice}, {"index": None, "targets": twice}, {"index": torch.tensor([3, 5, 7])}):
        loss = ready(None, width=8, bank="batch", form=form)
        values.append(float(loss(shown(3, **known)[0]).detach()))
    assert values[0] == values[1] != values[2]


def test_an_image_that_is_in_the_queue_already_is_not_its_own_negative() -> None:
    loss = ready(None, width=8, bank="queue", rows=6)
    for number in range(3):
        view, _ = shown(3, seed=number, index=torch.tensor([3, 5, 7]) + number)
        loss(view)
        loss.remember(view)
    (pair,) = loss._pairs()
    assert pair.get_buffer("numbers").tolist() == [4, 6, 8, 5, 7, 9]
    _, excluded = loss._negatives(pair, 0, F.normalize(torch.ones(2, 8), dim=1), torch.tensor([7, 3]), None, view)
    assert excluded.tolist() == [[False, False, False, False, True, False], [False] * 6]


def test_the_batch_alone_can_be_told_apart() -> None:
    loss = ready(None, width=8, bank="batch", temperature=0.5, form="nce", normaliser="analytic")
    view, _ = shown(4, targets=torch.tensor([0, 0, 1, 2]), index=None)
    ((answered, taught),), (pair,) = loss.seen(view), loss._pairs()
    sides, wanted = (pair.embed(0, answered).double(), pair.embed(1, taught).double()), torch.zeros((), dtype=torch.double)
    same = torch.tensor([[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]).bool()
    for side in (0, 1):
        scores = sides[side] @ sides[1 - side].T / 0.5
        wanted = wanted + slow_nce(scores.diagonal(), scores, same, sphere_log_mean(8, 0.5))
    assert float(loss(view).detach()) == pytest.approx(float(wanted.detach()), rel=1e-5)


@pytest.mark.parametrize("bank", ["memory", "queue", "batch"])
def test_labels_play_no_part_in_free_sampling(bank: Any) -> None:
    def value(sampling: Any, targets: Tensor | None) -> float:
        loss = ready(9 if bank == "memory" else None, width=8, bank=bank, sampling=sampling)
        for seed in (1, 2):
            view, _ = shown(4, seed=seed, targets=targets)
            found = float(loss(view).detach())
            loss.remember(view)
        return found

    labels = torch.tensor([0, 1, 0, 2])
    assert value("free", labels) == value("free", None) == value("exact", None) != value("exact", labels)


def test_relaxed_positives_are_of_the_same_class_and_not_always_the_image_itself() -> None:
    loss = ready(40, sampling="relax")
    labels = torch.arange(40) % 4
    (pair,) = loss._pairs()
    pair.labels = labels
    own = torch.arange(40)
    picked = torch.stack([loss._positives(pair, labels, View(torch.zeros(1), index=own, generator=seeded(seed))) for seed in range(5)])
    assert torch.equal(labels[picked], labels.expand(5, 40))
    assert bool((picked != own).any())
    with pytest.raises(InputError, match="`relax` needs labels"):
        loss(shown(4)[0])


def test_relaxed_positives_are_drawn_alike_from_the_known_of_a_class_and_the_image_itself() -> None:
    loss = ready(6, sampling="relax")
    (pair,) = loss._pairs()
    pair.labels = torch.tensor([0, 3, 0, -1, -1, 0])
    view = View(torch.zeros(1), index=torch.full((4000,), 4), generator=seeded())
    counts = loss._positives(pair, torch.zeros(4000, dtype=torch.long), view).bincount(minlength=6) / 4000
    torch.testing.assert_close(counts, torch.tensor([0.25, 0.0, 0.25, 0.0, 0.25, 0.25]), rtol=0, atol=0.03)
    assert pair.labels.tolist() == [0, 3, 0, -1, -1, 0]


def test_a_relaxed_positive_is_the_same_image_for_both_sides() -> None:
    """Half of the rows lie where the image itself does, on both sides, and half opposite; no row is of another class."""
    loss = ready(40, width=8, temperature=0.5, sampling="relax")
    (pair,), found = loss._pairs(), set()
    pair.labels = torch.zeros(40, dtype=torch.long)
    for seed in range(10):
        view, _ = shown(1, targets=torch.zeros(1, dtype=torch.long), generator=seeded(seed))
        with torch.no_grad():
            for side, features in enumerate(loss.seen(view)[0]):
                signs = torch.where(torch.arange(40) % 2 == 0, 1.0, -1.0)
                pair.held(1 - side).copy_(signs[:, None] * pair.embed(side, features))
        found.add(round(float(loss(view).detach()), 4))
    bias = sphere_log_mean(8, 0.5)
    assert found == {round(2 * math.log1p(math.exp(bias - score)), 4) for score in (2.0, -2.0)}


def test_relaxed_positives_are_found_without_a_table_of_batch_by_memory() -> None:
    loss, sizes = ready(1000, sampling="relax"), list[int]()

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            sizes.extend(each.numel() for each in (made if isinstance(made, tuple) else (made,)) if isinstance(each, Tensor))
            return made

    with Watch():  # type: ignore[no-untyped-call]
        loss._positives(loss._pairs()[0], torch.arange(64) % 4, shown(64)[0])
    assert max(sizes) == 1000


def test_negatives_of_ones_own_count_as_those_of_the_batch() -> None:
    """With all rows drawn, it makes no difference whether a batch shares them."""
    values = []
    for shared in (True, False):
        loss = ready(7, width=8, negatives=7, shared=shared)
        values.append(float(loss(shown(3)[0]).detach()))
    assert values[0] == pytest.approx(values[1], rel=1e-6)
    own = ready(500, width=8, negatives=20, shared=False)
    view, _ = shown(3)
    (pair,) = own._pairs()
    anchors = F.normalize(torch.randn(3, 8, generator=seeded()), dim=1)
    scores, excluded = own._negatives(pair, 1, anchors, view.index, None, view)
    assert scores.shape == excluded.shape == (3, 20)
    assert len({tuple(row.tolist()) for row in scores}) == 3


@pytest.mark.parametrize("bank", ["memory", "queue"])
def test_where_all_rows_are_shared_none_is_copied_and_scores_are_the_same_bits(bank: Any) -> None:
    loss, copied = ready(50 if bank == "memory" else None, width=8, bank=bank, negatives=50), list[tuple[int, ...]]()
    (pair,), anchors = loss._pairs(), F.normalize(torch.randn(3, 8, generator=seeded()), dim=1)
    if bank == "queue":
        pair.push(torch.randn(50, 6, generator=seeded(1)), torch.zeros(50).long(), torch.arange(50), 50)

    class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            made = func(*args, **(kwargs or {}))
            copied.extend([tuple(made.shape)] * (func is torch.ops.aten.index.Tensor))
            return made

    with Watch():  # type: ignore[no-untyped-call]
        scores, _ = loss._negatives(pair, 0, anchors, torch.arange(3), None, shown(3)[0])
    assert copied == [(1, 50)]  # numbers of the rows alone
    keys = pair.held(1)[torch.arange(50)]
    with torch.no_grad():
        keys = pair.embed(1, keys) if bank == "queue" else keys
    assert torch.equal(scores, anchors @ keys.T / 0.07)


@pytest.mark.parametrize("normaliser", ["first", "ema"])
def test_the_normaliser_can_be_measured(normaliser: Any) -> None:
    loss = ready(50, width=8, negatives=50, normaliser=normaliser)
    (pair,), measured = loss._pairs(), list[float]()
    for seed in (0, 5):
        view, _ = shown(6, seed=seed)
        loss(view)
        ((answered, _),) = loss.seen(view)
        scores = (pair.embed(0, answered) @ pair.held(1).T / 0.07).detach()
        own = torch.zeros_like(scores, dtype=torch.bool).scatter_(1, torch.arange(6)[:, None], True)
        measured.append(math.log(float(scores[~own].double().exp().mean())))
        now = measured[0] if normaliser == "first" else math.log(0.99 * math.exp(measured[0]) + 0.01 * math.exp(measured[-1]))
        assert float(pair.get_buffer("log_mean")[0]) == pytest.approx(now, abs=1e-4)
    assert abs(measured[1] - measured[0]) > 0.1


def test_without_a_memory_the_normaliser_is_measured_since_new_embeddings_are_alike() -> None:
    values = {}
    for normaliser in (None, "analytic"):
        loss = ready(None, teacher=128, student=128, width=128, bank="queue", rows=64, form="nce", normaliser=normaliser)
        made = F.normalize(torch.ones(2, 64, 128) + 0.1 * torch.randn(2, 64, 128, generator=seeded(0)), dim=2)
        pair = as_they_are(loss, made[1], torch.full((64,), -1))
        anchors = made[:, :4]
        values[normaliser] = float(loss._side(pair, 0, (anchors[0], anchors[1]), None, shown(4, index=None)[0]))
    assert values[None] < 8  # of which ln 64 is the positive's
    assert values["analytic"] > 10 * values[None]
    assert ready(9).normaliser == "analytic"


@pytest.mark.parametrize("bank", ["batch", "queue"])
def test_what_is_no_negative_is_not_in_the_measured_mean(bank: Any) -> None:
    loss = ready(None, teacher=32, student=32, width=32, bank=bank, form="nce")
    classes = torch.arange(16) % 2
    centres = F.normalize(torch.randn(2, 32, generator=seeded(1)), dim=1)
    aligned = F.normalize(centres[classes] + 0.05 * torch.randn(16, 32, generator=seeded(2)), dim=1)
    pair = as_they_are(loss, aligned, classes)
    loss._side(pair, 0, (aligned, aligned), classes, shown(16, index=None)[0])
    scores = aligned.double() @ aligned.double().T / 0.07
    apart = classes[:, None] != classes
    assert float(pair.get_buffer("log_mean")[0]) == pytest.approx(float(scores[apart].exp().mean().log()), abs=1e-3)
    assert float(scores.exp().mean().log()) > float(scores[apart].exp().mean().log()) + 5  # what it would be with them


def test_a_batch_of_one_class_has_no_negatives_and_no_loss() -> None:
    loss = ready(None, width=32, bank="batch", form="nce")
    (pair,) = loss._pairs()
    found = F.normalize(torch.randn(4, 32, generator=seeded(1)), dim=1).requires_grad_(True)
    value = loss._side(pair, 0, (found, found.detach()), torch.zeros(4, dtype=torch.long), shown(4, index=None)[0])
    torch.autograd.backward(value)
    assert float(value.detach()) == 0
    assert found.grad is not None
    assert bool(found.grad.isfinite().all())


@pytest.mark.parametrize("normaliser", ["first", "ema"])
def test_a_batch_without_negatives_leaves_the_measured_normaliser_as_it_is(normaliser: Any) -> None:
    loss = ready(None, width=8, bank="batch", form="nce", normaliser=normaliser)
    (pair,) = loss._pairs()
    loss(shown(4, targets=torch.zeros(4, dtype=torch.long), seed=1)[0])
    assert pair.get_buffer("log_mean").tolist() == [-math.inf] * 2
    loss(shown(4, targets=torch.arange(4))[0])
    kept = pair.get_buffer("log_mean").clone()
    assert bool(kept.isfinite().all())
    loss(shown(4, targets=torch.zeros(4, dtype=torch.long), seed=1)[0])
    assert torch.equal(pair.get_buffer("log_mean"), kept)


def test_several_teachers_are_summed_or_averaged() -> None:
    view, _ = shown(4, pairs=3, generator=None)
    summed, averaged = (ready(9, pairs=3, negatives=9, average=average) for average in (False, True))
    assert float(summed(view).detach()) == pytest.approx(3 * float(averaged(view).detach()), rel=1e-6)
    assert len(list(summed.parameters())) == 12


def test_heads_and_memory_are_part_of_the_state() -> None:
    loss, again = ready(6), ready(6)
    view, _ = shown(3)
    loss(view)
    loss.remember(view)
    again.load_state_dict(loss.state_dict())
    assert float(again(shown(3, generator=seeded(7))[0]).detach()) == float(loss(shown(3, generator=seeded(7))[0]).detach())


def test_crd_finds_what_the_classifiers_read() -> None:
    teacher, student = Network(BNNet(width=6), SPEC), Network(BNNet(width=3), SPEC)
    loss = CRD()
    loss.fit(teacher, student)
    assert loss.needs.teacher_taps == loss.needs.student_taps == ("head:in",)
    assert [head.in_features for head in loss._pairs()[0].heads] == [6, 12]


def test_of_an_ensemble_each_member_is_a_teacher_with_a_head_of_its_own() -> None:
    torch.manual_seed(0)
    networks = [Network(BNNet(width=width), SPEC).eval() for width in (3, 4)]
    both, student, images = Teacher.of(Ensemble.of(networks)), Network(BNNet(width=2), SPEC).eval(), torch.rand(4, 1, 6, 6)
    assert list(members(both)) == ["networks.0.model.", "networks.1.model."]
    loss = CRD(bank="batch", width=8, temperature=0.5)
    loss.fit(both, student)
    assert loss.needs.teacher_taps == ("networks.0.model.head:in", "networks.1.model.head:in")
    assert loss.needs.student_taps == ("head:in",)
    assert [pair.heads[1].in_features for pair in loss._pairs()] == [6, 8]
    assert [list(team) for team in loss.teams] == [[0], [1]]
    with Probe(both, taps=loss.needs.teacher_taps) as ask, Probe(student, taps=loss.needs.student_taps) as look:
        found = loss(View(images, teacher=ask(images), student=look(images)))
    wanted = torch.zeros(())
    for pair, network in zip(loss._pairs(), networks, strict=True):
        alone = CRD(["head:in"], ["head:in"], bank="batch", width=8, temperature=0.5)
        alone.contrasts.append(pair)
        with Probe(network, taps=["head:in"]) as ask, Probe(student, taps=["head:in"]) as look:
            wanted = wanted + alone(View(images, teacher=ask(images), student=look(images)))
    torch.testing.assert_close(found, wanted)
    found.backward()
    learned = student.model.get_parameter("conv1.weight").grad
    assert learned is not None
    assert bool(learned.any())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"form": "nec"}, "crd: form: expected one of nce, infonce, got 'nec'"),
        ({"bank": "none"}, "crd: bank: expected one of memory, queue, batch"),
        ({"negatives": 0}, "crd: expected width, negatives and rows of at least 1"),
        ({"sampling": "relax", "bank": "queue"}, "`relax` picks positives out of a memory"),
        ({"temperature": 0.0}, "temperature: expected a positive number"),
        ({"bank": "batch", "negatives": 4}, "crd: negatives: it plays no part with `bank: batch`, got 4: leave it out"),
        ({"bank": "batch", "shared": False}, "crd: shared: it plays no part with `bank: batch`"),
        ({"bank": "memory", "rows": 9}, "crd: rows: it plays no part with `bank: memory`"),
        ({"bank": "queue", "momentum": 0.9}, "crd: momentum: it plays no part with `bank: queue`"),
        ({"form": "infonce", "normaliser": "first"}, "crd: normaliser: it plays no part with `form: infonce`"),
        ({"bank": "queue", "normaliser": "analytic"}, "crd: normaliser: it plays no part with `form: infonce`"),
    ],
)
def test_wrong_options_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        CRD(**options)


@pytest.mark.parametrize(
    ("population", "bank", "others"), [(9, "memory", {"form": "nce", "normaliser": "analytic"}), (None, "queue", {"form": "infonce"})]
)
def test_where_no_bank_is_asked_for_it_is_what_the_set_allows(population: int | None, bank: Any, others: dict[str, Any]) -> None:
    asked, unasked = ready(population, bank=bank, **others), ready(population)
    assert (unasked.kind, unasked.form, unasked.normaliser) == (asked.kind, asked.form, asked.normaliser)
    for step in range(2):
        view, _ = shown(4, seed=step)
        same, _ = shown(4, seed=step)
        assert float(unasked(view).detach()) == float(asked(same).detach())
        unasked.remember(view)
        asked.remember(same)
    measured = ready(population, form="nce").normaliser
    assert measured == ("analytic" if bank == "memory" else "ema")


@pytest.mark.parametrize(
    ("population", "options", "said"),
    [
        (9, {"rows": 5}, "crd: rows: it plays no part with `bank: memory`, got 5: leave it out"),
        (None, {"momentum": 0.5}, "crd: momentum: it plays no part with `bank: queue`, got 0.5: leave it out"),
        (None, {"normaliser": "first"}, "crd: normaliser: it plays no part with `form: infonce`, got 'first': leave it out"),
        (None, {"sampling": "relax"}, "`relax` picks positives out of a memory, of a fixed set of images"),
    ],
)
def test_what_plays_no_part_is_refused_as_soon_as_the_bank_is_known(population: int | None, options: dict[str, Any], said: str) -> None:
    CRD(**options)
    with pytest.raises(InputError, match=said):
        ready(population, **options)
    assert ready(9, momentum=0.9, normaliser="first", sampling="relax").momentum == 0.9
    assert ready(None, rows=5, form="nce", normaliser="first").rows == 5


def test_by_itself_without_a_set_the_loss_has_a_queue() -> None:
    loss = CRD(["t0"], ["s0"], width=8)
    loss.build([Match(Layer("t0", (6,), -math.inf), Layer("s0", (5,), -math.inf))])
    view, _ = shown(3)
    loss(view)
    loss.remember(view)
    assert (loss.kind, len(loss._pairs()[0].held(1))) == ("queue", 3)


def test_a_memory_needs_images_with_numbers() -> None:
    with pytest.raises(InputError, match="no fixed set of images to remember: use `bank: queue`"):
        ready(None, bank="memory")
    with pytest.raises(InputError, match="this source does not say: use `bank: queue`"):
        ready(5)(shown(3, index=None)[0])
    with pytest.raises(InputError, match="call `fit` first"):
        CRD(["a"], ["b"])(shown(3)[0])


def test_maps_are_pooled() -> None:
    """A map, and the vector of its means over places, give the same loss."""
    torch.manual_seed(0)
    loss = CRD(["t0"], ["s0"], width=8, negatives=7)
    loss.build([Match(Layer("t0", (6, 4, 4), -1), Layer("s0", (5, 2, 2), -1))])
    loss.attach(7)
    maps = {"t0": torch.rand(3, 6, 4, 4)}, {"s0": torch.rand(3, 5, 2, 2)}
    vectors = ({name: x.mean((2, 3)) for name, x in side.items()} for side in maps)
    found = []
    for theirs, ours in (maps, tuple(vectors)):
        teacher, student = Signals(torch.zeros(3, 5), theirs), Signals(torch.zeros(3, 5), ours)
        found.append(float(loss(View(torch.zeros(3, 1, 1, 1), teacher=teacher, student=student, index=torch.arange(3))).detach()))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize(("bank", "looks", "warned"), [(None, 9.6, True), (None, 40.0, False), (None, None, False), ("memory", 9.6, False)])
def test_a_memory_that_nobody_asked_for_is_warned_of_where_its_rows_hardly_move(
    bank: Any, looks: float | None, warned: bool, caplog: pytest.LogCaptureFixture
) -> None:
    loss = CRD(["t"], ["s"], bank=bank)
    loss.build([Match(Layer("t", (6,), -math.inf), Layer("s", (5,), -math.inf))])
    loss.attach(7, looks)
    assert loss.kind == "memory"
    words = "crd: each image is shown 9.6 times, and its row of the memory moves no oftener: `bank: batch` is likely to teach better"
    assert [record.getMessage() for record in caplog.records] == [f"tacit: warning: {words}"] * warned
