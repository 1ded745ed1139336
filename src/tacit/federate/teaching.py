"""Teaching at the server: a network learns what clients' networks say together, on made or given images, by the one loop of `distill`."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from tacit.core.device import derived_seed
from tacit.core.loss import NonFiniteLossError
from tacit.core.network import Ensemble, Network, Teacher
from tacit.core.norms import norms_of
from tacit.data.images import ImageSet
from tacit.distill import Learner, Source, Stored, Synthetic, Training, build_objective
from tacit.federate.central import Central
from tacit.synthesize import CMI, DeepInversion, Method, Synthesizer

__all__ = ["check_method", "ensemble_of", "pixels_of", "pool_of", "teach"]


def ensemble_of(networks: Sequence[Network]) -> Teacher:
    """Return several networks as one teacher that stays frozen: the mean of their logits."""
    return Teacher.of(Ensemble.of(networks) if len(networks) > 1 else networks[0])


def _bn(teacher: Teacher, weight: float) -> float:
    """Return a weight for BN alignment, which adds up over all layers of all members: 0 where there is no batch norm."""
    return weight / len(getattr(teacher.model, "networks", [0])) if norms_of(teacher.model).running else 0.0


def pixels_of(teacher: Teacher) -> Method:
    """Return a way of making a few images of an ensemble, quickly: pixels.

    BN alignment weighs as much as the class prior, which alone makes images of which all are sure at once: nothing to learn from. On MNIST,
    Dirichlet 0.1, in FedGen's setting, the sixth round's mean read 57.1 % of the test set, the ensemble 60.8, the mean taught on 256 images
    of 60 steps 57.4 with a weight of 0.3, 61.4 with 3; on 128 images of 30 steps 59.8, in a third of the time. In rounds 12 and 20 either
    taught all that the ensemble knew, more or less than the mean (seed 0, a trial, no file kept).
    """
    return DeepInversion(batch=128, steps=30, lr=0.1, warmup=1, bn=_bn(teacher, 3.0))


def pool_of(teacher: Teacher) -> Method:
    """Return DENSE's way of making many images of an ensemble: a generator with class prior, BN alignment and an adversarial term.

    Many small batches of a small generator: an image of MNIST's size then costs half of what it does at batch 128 and 32 maps.
    """
    return CMI(batch=64, steps=30, warmup=20, every=20, contrast=0.0, restart=0, adv=1.0, bn=_bn(teacher, 1.0), width=16)


def check_method(central: Central, students: Sequence[Network], method: Method) -> None:
    """Raise `InputError` where `method` can't make images of what the clients' networks say together, for one of `students`.

    It is asked before the first round: a federation whose clients have trained in vain costs more than one that does not begin.
    """
    members = [copy.deepcopy(network) for network in central.networks]
    teacher = ensemble_of([network.eval() for network in members])
    for student in students:
        _source(central, copy.deepcopy(student), teacher, method, size=method.batch, seed=central.seed)


def _source(central: Central, student: Network, teacher: Teacher, method: Method, *, size: int, seed: int) -> Synthetic:
    """Return a source of images that `method` makes, in batches of `size`."""
    runtime = central.runtime
    painter = Synthesizer(teacher, method, runtime=runtime, generator=runtime.generator(seed, "paint"), student=student)
    return Synthetic(painter, size=size, clock=central.clock)


def teach(
    central: Central,
    student: Network,
    teacher: Teacher,
    training: Training,
    *,
    method: Method | None,
    images: ImageSet | None,
    temperature: float,
    role: str,
) -> dict[str, float]:
    """Teach `student` in place; a student that broke is put back to what it was.

    Args:
        central: Gives device, clock and draws.
        student: Learns by the KL divergence of softened answers.
        teacher: Usually an ensemble.
        training: How it is optimised.
        method: How images are made of the teacher; not looked at where `images` are given.
        images: Images to learn on; their labels are not looked at. None: they are made.
        temperature: Divides logits.
        role: Tells this teaching's draws from others of the round.

    Returns:
        The last loss, and how many images were made; ``skipped`` where the student broke.
    """
    runtime, seed = central.runtime, derived_seed(central.seed, role, central.round)
    before = copy.deepcopy(student.model.state_dict())
    torch.manual_seed(seed)
    source: Source
    if images is not None:
        source = Stored(images, size=training.batch, seed=seed, device=runtime.device)
    else:
        assert method is not None
        source = _source(central, student, teacher, method, size=training.batch, seed=seed)
    objective = build_objective([{"loss": "kd", "weight": 1.0, "temperature": temperature}])
    learner = Learner(
        student, source, objective, training, runtime=runtime, generator=runtime.generator(seed, "objective"), teacher=teacher
    )
    try:
        for _ in source.prepare():
            pass
        while learner.done < training.steps and (source.most_steps is None or learner.done < source.most_steps):
            learner.step()
        runtime.settle("the server's teaching")
    except NonFiniteLossError:
        central.load(student, before)
        return {"skipped": 1.0}
    student.eval()
    if central.broken(student) is not None:
        central.load(student, before)
        return {"skipped": 1.0}
    return {"loss/teaching": float(learner.loss.detach()), "images_made": float(getattr(source, "images_made", 0))}
