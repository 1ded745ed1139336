"""NAYER: embeddings, noisy layers, generators of a few rounds."""

from __future__ import annotations

import copy
import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from quick_methods import quick, synthesizer
from tacit.core.device import Runtime
from tacit.core.errors import InputError
from tacit.core.files import write_tensors
from tacit.core.network import Teacher
from tacit.core.taps import classifier_rows
from tacit.synthesize import NAYER, Synthesizer
from tacit.synthesize.nayer import NoisyLayers


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def noisy(work: Synthesizer) -> NoisyLayers:
    assert isinstance(work.canvas, NoisyLayers)
    return work.canvas


def test_nayer_embeds_the_classifiers_rows_in_layers_that_are_drawn_anew_each_round(teacher: Teacher, runtime: Runtime) -> None:
    work, weights, canvases = synthesizer(quick(NAYER, restart=2, lr=0.0), teacher, runtime), [], []
    for _ in range(4):
        batch = work.round()
        assert batch.targets is not None
        assert sorted(torch.bincount(batch.targets).tolist()) == [2] * 7 + [3] * 3
        canvases.append(noisy(work))
        weights.append(noisy(work).weight.detach().clone())
    assert canvases[0] is canvases[1] is not canvases[2]
    assert canvases[2] is canvases[3]
    assert not torch.equal(canvases[0].state_dict()["net.project.weight"], canvases[2].state_dict()["net.project.weight"])
    assert torch.equal(canvases[0].get_buffer("embeddings"), classifier_rows(teacher))
    assert {tuple(weight.shape) for weight in weights} == {(3, 32, 8)}
    for one, other in itertools.pairwise(weights):
        assert abs(float(torch.corrcoef(torch.stack([one.flatten(), other.flatten()]))[0, 1])) < 0.2
    assert float(torch.stack(weights).std()) == pytest.approx(1.0, abs=0.05)


def test_nayers_layers_each_take_as_many_images_as_there_are_classes(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(NAYER), teacher, runtime)
    work.round()
    canvas, inputs = noisy(work), list[Tensor]()
    canvas.net.register_forward_pre_hook(lambda _, given: inputs.append(given[0].detach()))
    with torch.no_grad():
        assert canvas().shape == (23, 1, 8, 8)
    rows = canvas.get_buffer("embeddings")[torch.arange(23) % 10].double().numpy()
    normed = (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 1e-5)
    scale, shift = (canvas.norm.get_parameter(name).detach().double().numpy() for name in ("weight", "bias"))
    for place in range(23):
        layer, offset = (part.detach().double().numpy()[place // 10] for part in (canvas.weight, canvas.bias))
        wanted = (normed[place] * scale + shift) @ layer + offset[0]
        np.testing.assert_allclose(inputs[0][place].numpy(), wanted, rtol=1e-3, atol=1e-4)


def test_nayer_trains_layers_embedding_norm_and_generator_together(teacher: Teacher, runtime: Runtime) -> None:
    work = synthesizer(quick(NAYER), teacher, runtime)
    before = copy.deepcopy(work.canvas.state_dict())
    work.round()
    moved = {
        name
        for name, value in work.canvas.state_dict().items()
        if value.shape != before[name].shape or not torch.equal(value, before[name])
    }
    assert {"weight", "bias", "norm.weight", "net.project.weight", "net.blocks.7.weight"} <= moved
    assert "embeddings" not in moved


def test_nayer_uses_the_embeddings_of_a_file_and_refuses_those_of_other_classes(teacher: Teacher, runtime: Runtime, tmp_path: Path) -> None:
    names = torch.randn(10, 6, generator=seeded())
    write_tensors(tmp_path / "names.safetensors", {"names": names})
    canvas = quick(NAYER, embeddings=str(tmp_path / "names.safetensors")).canvas(teacher, seeded())
    assert torch.equal(canvas.get_buffer("embeddings"), names)
    for tensors in ({"names": names[:9]}, {"names": names[0]}, {"a": names, "b": names}):
        write_tensors(tmp_path / "bad.safetensors", tensors)
        with pytest.raises(InputError, match=r"NAYER.embeddings: expected one tensor of shape \[10, length\]"):
            quick(NAYER, embeddings=str(tmp_path / "bad.safetensors")).canvas(teacher, seeded())
    with pytest.raises(InputError, match=r"none\.safetensors"):
        quick(NAYER, embeddings=str(tmp_path / "none.safetensors")).canvas(teacher, seeded())
