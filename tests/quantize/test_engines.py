"""Engines: int8 files of each, what they answer, what they are asked for, and what stands in the way."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tacit.core.device import Runtime
from tacit.core.enginefile import open_session
from tacit.core.errors import InputError, MissingExtraError
from tacit.core.models import load, model_hash
from tacit.core.network import Network, Teacher
from tacit.data import digits
from tacit.evaluate import predict
from tacit.quantize import Scheme, clip_weights, write
from tacit.quantize.deploy import Engine, Written
from tacit.quantize.engines import ENGINES
from tacit.quantize.fold import fold


@pytest.fixture(scope="module")
def written(teacher_network: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Written]:
    found, images = {}, digits("train").images[:64]
    for engine in ("onnxruntime", "openvino"):
        folder = tmp_path_factory.mktemp(engine)
        (folder / "scratch").mkdir()
        found[engine] = write(teacher_network, images, folder, folder / "scratch", Scheme(), engine=engine)
    return found


@pytest.mark.parametrize("engine", ["onnxruntime", "openvino"])
def test_both_files_answer_nearly_as_the_network_at_any_batch(
    engine: str, written: dict[str, Written], teacher: Teacher, runtime: Runtime
) -> None:
    held, files = digits("test"), written[engine]
    whole, small = load(files.whole), load(files.small)
    assert whole.spec == small.spec == teacher.spec
    shown = held.images[:70].float().div(255)
    for n in (1, 3, 70):
        assert small(shown[:n]).shape == (n, 10)
    theirs, ours = (predict(network, held.batches(270), runtime) for network in (teacher, small))
    assert ours.accuracy >= theirs.accuracy - 0.012
    assert ours.agreement(theirs) >= 0.98
    assert files.sizes[1] < files.sizes[0]  # of so small a network most is the graph
    assert open_session(files.small).metadata["tacit.sha256"] == model_hash(teacher)


def test_the_float_files_answer_as_the_network_whose_weights_are_not_clipped(
    teacher_network: Network, tmp_path: Path, teacher: Teacher
) -> None:
    shown = digits("test").images[:40].float().div(255)
    for engine in ("onnxruntime", "openvino"):
        files = write(teacher_network, shown, tmp_path, tmp_path, Scheme(weight_ranges="minmax"), engine=engine)
        torch.testing.assert_close(load(files.whole)(shown), teacher(shown), atol=2e-3, rtol=2e-3)
    torch.testing.assert_close(load(tmp_path / "float.onnx")(shown), clip_weights(teacher_network, Scheme(weight_ranges="minmax"))(shown))


def test_weights_are_clipped_to_the_ranges_of_the_scheme_after_batch_norm_is_folded(teacher_network: Network) -> None:
    shown, folded = digits("test").images[:20].float().div(255), fold(teacher_network)
    same = clip_weights(teacher_network, Scheme(weight_ranges="minmax"))
    for (name, theirs), ours in zip(folded.model.named_parameters(), same.model.parameters(), strict=True):
        torch.testing.assert_close(theirs, ours, msg=name)
    torch.testing.assert_close(same(shown), teacher_network(shown), atol=1e-3, rtol=1e-3)
    narrow = clip_weights(teacher_network, Scheme(weights=3, weight_ranges="aciq"))
    widest = [(a.abs().max(), b.abs().max()) for a, b in zip(folded.model.parameters(), narrow.model.parameters(), strict=True)]
    assert sum(bool(after < before) for before, after in widest) > 5


def test_sums_are_quantized_or_not_as_the_scheme_says(teacher_network: Network, tmp_path: Path) -> None:
    images, counts = digits("train").images[:32], []
    for sums in (True, False):
        made = write(teacher_network, images, tmp_path, tmp_path, Scheme(sums=sums), engine="openvino").small
        counts.append(made.read_bytes().count(b'type="FakeQuantize"'))
    assert counts[1] < counts[0]


@pytest.mark.parametrize(("engine", "scheme", "target", "words"), [
    ("onnxruntime", Scheme(activation_ranges="aciq"), "auto", "activation_ranges: onnxruntime has no 'aciq'; expected one of minmax,"),
    ("openvino", Scheme(activation_ranges="mse"), "auto", "activation_ranges: openvino has no 'mse'; expected one of minmax, average"),
    ("torchao", Scheme(activation_ranges="percentile"), "auto", "torchao has no 'percentile'"),
    ("torchao", Scheme(), "arm", "target: torchao compiles for the machine that it runs on"),
    ("torchao", Scheme(sums=False), "auto", "scheme.sums: what 8-bit layers of torchao give is in 8 bits"),
    ("onnxruntime", Scheme(sums=False), "auto", "scheme.sums: what 8-bit layers of onnxruntime give is in 8 bits"),
    ("tensorrt", Scheme(), "auto", "engine: expected one of onnxruntime, openvino, torchao, got 'tensorrt'"),
    ("onnxruntime", Scheme(), "tpu", "target: expected one of auto, x86-vnni, x86, arm, got 'tpu'"),
])  # fmt: skip
def test_what_an_engine_cannot_do_is_said(
    engine: Any, scheme: Scheme, target: Any, words: str, teacher_network: Network, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words.replace("(", r"\(")):
        write(teacher_network, digits("train").images[:8], tmp_path, tmp_path, scheme, engine=engine, target=target)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("engine", ENGINES.values(), ids=lambda engine: engine.name)
def test_a_package_that_is_missing_names_its_install_command(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    for package in engine.packages:
        with monkeypatch.context() as patch:
            patch.setitem(sys.modules, package, None)
            with pytest.raises(
                MissingExtraError, match=rf"needs the package '{package}': install it with `pip install 'tacit\[{engine.extra}\]'"
            ):
                engine.check(Scheme(), "auto")
    engine.check(Scheme(), "auto")


def test_the_extras_hold_what_the_engines_import() -> None:
    import tomllib

    extras = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for engine in ENGINES.values():
        named = {requirement.partition(">")[0] for requirement in extras[engine.extra]}
        assert set(engine.packages) == named
        assert all(importlib.util.find_spec(package) for package in engine.packages)


def test_nothing_is_quantized_without_images(teacher_network: Network, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="calibration: expected images, got none"):
        write(teacher_network, digits("train").images[:0], tmp_path, tmp_path, Scheme())


def test_the_target_is_noted_and_narrows_the_weights_for_openvino_too(teacher_network: Network, tmp_path: Path) -> None:
    images = digits("train").images[:32]
    files = write(teacher_network, images, tmp_path, tmp_path, Scheme(), engine="openvino", target="x86")
    assert open_session(files.small).metadata["tacit.target"] == "x86"
    import openvino

    weights = [node.get_data() for node in openvino.Core().read_model(str(files.small)).get_ops() if node.get_type_name() == "Constant"]
    levels = [np.abs(array.astype(int)).max() for array in weights if array.dtype == np.int8 and array.ndim == 4]
    assert levels
    assert max(levels) <= 64
