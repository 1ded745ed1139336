"""Every loss that the package exports: what it asks for is enough, and its value and gradient are sound."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager

import pytest
import torch
from torch import Tensor

import tacit.losses
from tacit.core.loss import Loss, View
from tacit.core.network import Network, Teacher
from tacit.core.probe import Probe, Signals
from tacit.core.spec import Spec
from tacit.losses import (
    CRD,
    FSP,
    KD,
    L1,
    MSE,
    Activation,
    ActivationBoundary,
    AttentionTransfer,
    BNAlignment,
    BNDivergence,
    ClassBalance,
    ClassPrior,
    Competition,
    CorrelationCongruence,
    CrossEntropy,
    DecisionAdversarial,
    DecoupledKD,
    Disagreement,
    Dist,
    Divergence,
    FactorTransfer,
    FeatureOverhaul,
    FitNet,
    Increment,
    InstanceContrast,
    Intermediate,
    InterSample,
    ModeSeeking,
    NeuronSelectivity,
    PixelNorm,
    ProbabilisticTransfer,
    RelationalKD,
    ReviewKD,
    SimilarityPreserving,
    SingularVectors,
    Smoothness,
    SoftCrossEntropy,
    TargetLogit,
    TotalVariation,
    VariationalInformation,
)
from toy import BNNet


def fitted(loss: Loss, network: Network) -> Loss:
    loss.fit(network, network)
    return loss


SPEC = Spec(shape=(1, 6, 6), classes=5, mean=(0.4,), std=(0.2,))
MAKE: dict[str, Callable[[Teacher], Loss]] = {
    "KD": lambda _: KD(),
    "L1": lambda _: L1(),
    "MSE": lambda _: MSE(),
    "Activation": lambda _: Activation("head:in"),
    "CRD": lambda teacher: fitted(CRD(bank="batch", temperature=1.0), teacher),
    "AttentionTransfer": lambda _: AttentionTransfer(["bn1", "bn2"], ["bn2", "conv2"]),
    "BNAlignment": lambda _: BNAlignment(),
    "BNDivergence": lambda teacher: BNDivergence(teacher.mean, teacher.std),
    "ClassBalance": lambda _: ClassBalance(),
    "ClassPrior": lambda _: ClassPrior(),
    "Competition": lambda _: Competition(),
    "CrossEntropy": lambda _: CrossEntropy(),
    "DecisionAdversarial": lambda _: DecisionAdversarial(),
    "Disagreement": lambda _: Disagreement(),
    "Divergence": lambda _: Divergence(),
    "Increment": lambda _: Increment(ClassPrior()),
    "InstanceContrast": lambda teacher: InstanceContrast(teacher, width=4),
    "InterSample": lambda teacher: InterSample(teacher.std),
    "Intermediate": lambda _: Intermediate(["bn1", "bn2"], ["bn1", "bn2"]),
    "ModeSeeking": lambda _: ModeSeeking(torch.ones(1, 1, 1)),
    "PixelNorm": lambda teacher: PixelNorm(teacher.mean, teacher.std),
    "Smoothness": lambda teacher: Smoothness(teacher.mean, teacher.std),
    "SoftCrossEntropy": lambda _: SoftCrossEntropy(),
    "TargetLogit": lambda _: TargetLogit(scale=0.1),
    "TotalVariation": lambda _: TotalVariation(),
    "DecoupledKD": lambda _: DecoupledKD(),
    "Dist": lambda _: Dist(),
    "CorrelationCongruence": lambda teacher: fitted(CorrelationCongruence(width=4), teacher),
    "FitNet": lambda teacher: fitted(FitNet(), teacher),
    "NeuronSelectivity": lambda _: NeuronSelectivity(["bn1", "bn2"], ["bn2", "conv2"]),
    "ProbabilisticTransfer": lambda teacher: fitted(ProbabilisticTransfer(), teacher),
    "RelationalKD": lambda teacher: fitted(RelationalKD(), teacher),
    "SimilarityPreserving": lambda teacher: fitted(SimilarityPreserving(), teacher),
    "SingularVectors": lambda teacher: fitted(SingularVectors(["bn1", "bn2"], ["bn1", "bn2"]), teacher),
    "VariationalInformation": lambda teacher: fitted(VariationalInformation(), teacher),
    "ReviewKD": lambda teacher: fitted(ReviewKD(), teacher),
    "FeatureOverhaul": lambda teacher: fitted(FeatureOverhaul(["bn2"], ["bn2"]), teacher),
    "ActivationBoundary": lambda teacher: fitted(ActivationBoundary(["bn2"], ["bn2"]), teacher),
    "FSP": lambda teacher: fitted(FSP(["bn1", "bn2"], ["bn1", "bn2"]), teacher),
    "FactorTransfer": lambda teacher: fitted(FactorTransfer(), teacher),
}
"""How each is made. A new loss fails the tests below until it is here."""


@pytest.fixture
def networks() -> tuple[Teacher, Network]:
    torch.manual_seed(0)
    return Teacher(BNNet(), SPEC), Network(BNNet(), SPEC).eval()


def made(name: str, teacher: Teacher) -> Loss:
    assert name in MAKE, f"say in MAKE how {name} is made"
    torch.manual_seed(1)
    return MAKE[name](teacher)


def bf16(wanted: bool) -> AbstractContextManager[None]:
    context: AbstractContextManager[None] = torch.autocast("cpu", torch.bfloat16, enabled=wanted)
    return context


def scaled(said: Signals, scale: float) -> Signals:
    return Signals(said.logits * scale, {name: feature * scale for name, feature in said.features.items()}, said.bn)


def shown(
    loss: Loss,
    images: Tensor,
    networks: tuple[Teacher, Network],
    *,
    scale: float = 1.0,
    low: bool = False,
    student: bool = True,
    own: Tensor | None = None,
    canvas: Tensor | None = None,
) -> Tensor:
    """Return the loss of a view that holds what the loss asks for and nothing else; in bf16 where asked, as the loops make it.

    The student may be shown images of its `own`, and the `canvas` may be another than the images.
    """
    own = images if own is None else own
    canvas = images if canvas is None else canvas
    needs, (theirs, ours) = loss.needs, networks
    with Probe(theirs, taps=needs.teacher_taps, bn=needs.bn) as ask, Probe(ours, taps=needs.student_taps) as watch:

        def look(asked: Tensor) -> Signals:
            with bf16(low):
                return ask(asked)

        with bf16(low):
            said, answered = look(images) if needs.teacher else None, watch(own) if needs.student and student else None
        view = View(
            images,
            torch.arange(len(images)) if needs.targets else None,
            teacher=scaled(said, scale) if said else None,
            student=scaled(answered, scale) if answered else None,
            latent=torch.randn(len(images), 3, generator=torch.Generator().manual_seed(1)),
            look=look,
            canvas=canvas.bfloat16() if low else canvas,
            generator=torch.Generator().manual_seed(2),
        )
        value: Tensor = loss(view)
    return value


def sound(value: Tensor, images: Tensor) -> Tensor:
    """Return the gradient, having looked at it and at the value."""
    assert value.shape == ()
    assert value.dtype == torch.float32
    assert bool(torch.isfinite(value))
    (gradient,) = torch.autograd.grad(value, images, allow_unused=True)
    assert gradient is not None
    assert bool(torch.isfinite(gradient).all())
    return gradient


def drawn(most: float = 1.0) -> Tensor:
    return (torch.rand(4, 1, 6, 6, generator=torch.Generator().manual_seed(3)) * most).requires_grad_()


def test_the_table_has_every_loss_and_no_other() -> None:
    assert set(MAKE) == set(tacit.losses.__all__)


@pytest.mark.parametrize("name", tacit.losses.__all__)
def test_every_loss_is_an_fp32_scalar_whose_gradient_reaches_the_images(name: str, networks: tuple[Teacher, Network]) -> None:
    loss, images = made(name, networks[0]), drawn()
    assert type(loss) is getattr(tacit.losses, name)
    assert float(sound(shown(loss, images, networks), images).abs().sum()) > 0


@pytest.mark.parametrize("name", tacit.losses.__all__)
def test_every_loss_is_finite_for_extreme_answers(name: str, networks: tuple[Teacher, Network]) -> None:
    loss, images = made(name, networks[0]), drawn()
    sound(shown(loss, images, networks, scale=60.0), images)


@pytest.mark.parametrize("name", tacit.losses.__all__)
def test_every_loss_is_finite_for_black_images_that_say_nothing(name: str, networks: tuple[Teacher, Network]) -> None:
    loss, images = made(name, networks[0]), drawn(0.0)
    sound(shown(loss, images, networks, scale=0.0), images)


@pytest.mark.parametrize("name", tacit.losses.__all__)
def test_every_loss_of_networks_in_bf16_is_in_fp32_and_near_that_of_networks_in_fp32(name: str, networks: tuple[Teacher, Network]) -> None:
    loss, images = made(name, networks[0]), drawn()
    value, low = shown(loss, images, networks), shown(made(name, networks[0]), images, networks, low=True)
    sound(low, images)
    assert float(low.detach()) == pytest.approx(float(value.detach()), rel=0.05, abs=0.02)


@pytest.mark.parametrize("name", tacit.losses.__all__)
def test_every_loss_says_that_it_needs_the_student_where_it_looks_at_one(name: str, networks: tuple[Teacher, Network]) -> None:
    loss = made(name, networks[0])
    if loss.needs.student:
        with pytest.raises(ValueError, match="compares with a student"):
            shown(loss, drawn(), networks, student=False)
    else:
        assert shown(loss, drawn(), networks, student=False).shape == ()


def all_of_its_slope(value: Callable[[], Tensor], along: Sequence[Tensor]) -> None:
    """Where a part of a gradient were cut off by a `detach`, the slope along it would be another than its length."""
    now = value()
    gradients = [found if found is not None else torch.zeros(()) for found in torch.autograd.grad(now, along, allow_unused=True)]
    length = torch.stack([gradient.square().sum() for gradient in gradients]).sum().sqrt()
    assert float(length) > 0
    begun = [each.detach().clone() for each in along]

    def moved(way: float) -> float:
        with torch.no_grad():
            for each, start, gradient in zip(along, begun, gradients, strict=True):
                each.copy_(start + way * gradient / length)
            return float(value())

    step = min(1e-4 * max(1.0, abs(float(now.detach()))) / float(length), 1e-2)
    assert (moved(step) - moved(-step)) / (2 * step) == pytest.approx(float(length), rel=0.03)


@pytest.mark.parametrize("name", tacit.losses.__all__)
def test_the_gradient_of_every_loss_on_a_student_is_all_of_its_slope(name: str, networks: tuple[Teacher, Network]) -> None:
    images, (teacher, student) = drawn().detach(), networks
    if not made(name, teacher).needs.student:
        pytest.skip("looks at no student")
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    all_of_its_slope(lambda: shown(made(name, teacher), images, networks), weights)


PAINTING = {
    **dict.fromkeys(["Activation", "BNAlignment", "BNDivergence", "ClassBalance", "ClassPrior", "Increment", "TargetLogit"], ("images",)),
    **dict.fromkeys(["Competition", "DecisionAdversarial", "Disagreement", "Divergence"], ("images", "own")),
    **dict.fromkeys(["ModeSeeking", "PixelNorm", "Smoothness", "TotalVariation"], ("canvas",)),
    "InterSample": ("images", "canvas"),
}
"""What methods paint by, and what each reads: the images, as the teacher or the student sees them, or the canvas. `InstanceContrast` cuts
the whole images off on purpose."""


@pytest.mark.parametrize(("name", "where"), [(name, where) for name, all_of_them in PAINTING.items() for where in all_of_them])
def test_the_gradient_of_what_images_are_painted_by_is_all_of_its_slope(name: str, where: str, networks: tuple[Teacher, Network]) -> None:
    at = {way: drawn() for way in ("images", "own", "canvas")}

    def value() -> Tensor:
        return shown(made(name, networks[0]), at["images"], networks, scale=10.0, own=at["own"], canvas=at["canvas"])

    all_of_its_slope(value, [at[where]])
