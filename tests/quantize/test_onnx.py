"""ONNX files: what is in them, how they answer, on machines that have no torch, and what stands in the way."""

from __future__ import annotations

import builtins
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tacit.core.device import Runtime
from tacit.core.enginefile import open_session
from tacit.core.errors import InputError
from tacit.core.models import load
from tacit.core.network import Network, Teacher
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.evaluate import accept
from tacit.quantize import compare_latency, fake_quantize, quantize_onnx, to_onnx
from tacit.quantize.deploy import find_target, reason
from tacit.quantize.latency import interleaved
from tacit.quantize.onnx import float_layers
from tacit.quantize.scheme import Ranges


@pytest.fixture(scope="module")
def files(teacher_network: Network, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("onnx")
    made = {name: folder / f"{name}.onnx" for name in ("float", "int8")}
    to_onnx(teacher_network, made["float"])
    quantize_onnx(made["float"], digits("train").images[:128], made["int8"], target="x86-vnni")
    return made


def test_the_quantized_file_is_unsigned_by_signed_and_leaves_no_layer_out(files: dict[str, Path]) -> None:
    import onnx

    graph = onnx.load(str(files["int8"])).graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    zero_points = {kinds[node.input[2]] for node in graph.node if node.op_type == "QuantizeLinear"}
    assert zero_points == {onnx.TensorProto.UINT8}
    weights = [tensor for tensor in graph.initializer if tensor.data_type == onnx.TensorProto.INT8 and len(tensor.dims) == 4]
    assert weights
    assert float_layers(files["int8"]) == []
    assert float_layers(files["float"]) != []
    assert files["int8"].stat().st_size < files["float"].stat().st_size / 2


def test_no_constant_of_the_quantized_file_is_there_twice(files: dict[str, Path]) -> None:
    import onnx

    graph = onnx.load(str(files["int8"])).graph
    kept = [onnx.numpy_helper.to_array(tensor) for tensor in graph.initializer]
    assert len({(values.dtype, values.shape, values.tobytes()) for values in kept}) == len(kept)
    used = {name for node in graph.node for name in node.input}
    assert {tensor.name for tensor in graph.initializer} <= used
    onnx.checker.check_model(str(files["int8"]), full_check=True)


class Pooled(nn.Module):
    """A mean over height and width, in one of the ways that models have."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.body, self.head = how, nn.Conv2d(1, 6, 3), nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.body(x).relu()
        if self.how == "rows":
            x = x.mean(dim=2).mean(dim=2)
        else:
            pooled: dict[str, Callable[[Tensor], Tensor]] = {
                "module": nn.AdaptiveAvgPool2d(1),
                "kept": lambda x: x.mean((-1, -2), keepdim=True),
                "dropped": lambda x: x.mean((2, 3)),
            }
            x = pooled[self.how](x).flatten(1)
        out: Tensor = self.head(x)
        return out


@pytest.mark.parametrize("how", ["module", "kept", "dropped", "rows"])
def test_a_mean_over_the_image_is_one_pooling_that_is_computed_in_8_bits(how: str, tmp_path: Path) -> None:
    import onnx

    torch.manual_seed(0)
    network = Network(Pooled(how), Spec(shape=(1, 9, 7), classes=4))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # as networks are while tacit works on them
    to_onnx(network, tmp_path / "float.onnx")
    images = torch.rand(64, 1, 9, 7)
    quantize_onnx(tmp_path / "float.onnx", images, tmp_path / "int8.onnx", target="x86-vnni")
    torch.testing.assert_close(load(tmp_path / "float.onnx")(images), network(images), rtol=1e-4, atol=1e-4)
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    kinds = [node.op_type for node in graph.node if node.op_type not in ("QuantizeLinear", "DequantizeLinear")]
    ends = {"rows": ["ReduceMean", "ReduceMean"], "dropped": ["GlobalAveragePool", "Flatten"]}.get(how, ["GlobalAveragePool", "Reshape"])
    assert kinds[-1 - len(ends) :] == [*ends, "Gemm"]
    assert {tensor.name for tensor in graph.initializer} <= {name for node in graph.node for name in node.input}
    if how != "rows":
        makers = {output: node for node in graph.node for output in node.output}
        (pooling,) = (node for node in graph.node if node.op_type == "GlobalAveragePool")
        assert makers[pooling.input[0]].op_type == "DequantizeLinear"
        assert [node.op_type for node in graph.node if pooling.output[0] in node.input] == ["QuantizeLinear"]


def test_a_process_without_torch_can_run_the_file(files: dict[str, Path], tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = None; sys.modules['tacit'] = None\n"
        "import json, numpy, onnxruntime\n"
        f"session = onnxruntime.InferenceSession({str(files['int8'])!r})\n"
        "spec = json.loads(session.get_modelmeta().custom_metadata_map['tacit.spec'])\n"
        "images = numpy.zeros((2, *spec['shape']), dtype=numpy.float32)\n"
        "print(spec['names'][session.run(None, {'images': images})[0][0].argmax()])\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path, check=True)
    assert done.stdout.strip() in "0123456789"


def test_fake_quantization_is_what_onnx_runtime_computes(tmp_path: Path) -> None:
    """QuantizeLinear and DequantizeLinear on the same ranges: at most one step apart, on fewer than 0.1 % of values."""
    import onnx
    from onnx import TensorProto, helper

    scale, zero = 0.0237, 117
    constants = [helper.make_tensor("scale", TensorProto.FLOAT, [], [scale]), helper.make_tensor("zero", TensorProto.UINT8, [], [zero])]
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"]),
    ]
    shapes = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None]) for name in ("x", "y")]
    graph = helper.make_graph(nodes, "qdq", shapes[:1], shapes[1:], constants)
    file = tmp_path / "qdq.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), str(file))
    x = torch.randn(100_000, generator=torch.Generator().manual_seed(0)) * 2
    theirs = torch.from_numpy(open_session(file)(x.numpy()))
    apart = (fake_quantize(x, torch.tensor(scale), torch.tensor(float(zero)), 0, 255) - theirs).abs()
    assert float(apart.max()) <= scale + 1e-6
    assert float((apart > 1e-6).float().mean()) < 1e-3


def test_weights_keep_to_seven_bits_where_sums_would_saturate(files: dict[str, Path], tmp_path: Path) -> None:
    import onnx
    from onnx import numpy_helper

    quantize_onnx(files["float"], digits("train").images[:64], tmp_path / "x86.onnx", target="x86")
    for file, most in ((files["int8"], 127), (tmp_path / "x86.onnx", 64)):
        arrays = [numpy_helper.to_array(tensor) for tensor in onnx.load(str(file)).graph.initializer if len(tensor.dims) == 4]
        assert max(int(np.abs(array.astype(int)).max()) for array in arrays) == most
    assert {entry.key: entry.value for entry in onnx.load(str(tmp_path / "x86.onnx")).metadata_props}["tacit.target"] == "x86"


@pytest.mark.parametrize(
    ("ranges", "method", "options", "size"),
    [
        ("minmax", "MinMax", {}, 8),
        ("average", "MinMax", {"CalibMovingAverage": True}, 1),
        ("percentile", "Percentile", {"CalibPercentile": pytest.approx(99.98)}, 8),  # between both ends, each of which cuts off 0.01
    ],
)
def test_onnx_runtime_is_told_how_ranges_are_chosen(
    ranges: Ranges, method: str, options: dict[str, Any], size: int, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime.quantization as quantization

    told: list[Any] = []

    def quantize_static(source: str, out: str, reader: Any, **given: Any) -> None:
        told.extend([given["calibrate_method"].name, given["extra_options"], len(reader.get_next()["images"])])
        shutil.copy(source, out)

    monkeypatch.setattr(quantization, "quantize_static", quantize_static)
    quantize_onnx(files["float"], digits("train").images[:12], tmp_path / "int8.onnx", ranges=ranges, size=8)
    assert told == [method, options, size]


class Gated(nn.Module):
    """Two branches joined by their channels, times a gate, plus what came in."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.left, self.right = nn.Conv2d(1, 8, 3), nn.Conv2d(8, 4, 1), nn.Conv2d(8, 4, 1)
        self.gate, self.head = nn.Conv2d(8, 8, 1), nn.Conv2d(8, 3, 6)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        logits: Tensor = self.head(torch.cat([self.left(x), self.right(x)], 1) * self.gate(x).sigmoid() + x)
        return logits.flatten(1)


def test_products_and_what_is_joined_are_quantized(tmp_path: Path) -> None:
    import onnx

    to_onnx(Network(Gated(), Spec(shape=(1, 8, 8), classes=3)), tmp_path / "float.onnx")
    quantize_onnx(tmp_path / "float.onnx", digits("train").images[:32], tmp_path / "int8.onnx")
    graph = onnx.load(str(tmp_path / "int8.onnx")).graph
    makers = {output: node.op_type for node in graph.node for output in node.output}
    (product,) = [node for node in graph.node if node.op_type == "Mul"]  # of what was joined, and a sigmoid
    assert [makers[name] for name in product.input] == ["DequantizeLinear"] * 2


def test_the_target_is_this_machine_unless_it_is_named() -> None:
    assert find_target("arm") == "arm"
    assert find_target() in ("x86-vnni", "x86", "arm")
    with pytest.raises(InputError, match="target: expected one of auto, x86-vnni, x86, arm, got 'tpu'"):
        find_target("tpu")  # type: ignore[arg-type]


class Sorted(nn.Module):
    """Holds what ONNX can't: a step that depends on the values."""

    def forward(self, x: Tensor) -> Tensor:
        if float(x.sum()) > 1e9:
            return x.flatten(1)
        return torch.cat([x.flatten(1)[:, :3].sort(dim=1).values, x.flatten(1)[:, :1] * float(x.max())], dim=1)


def test_of_a_chain_of_errors_the_innermost_is_told_or_the_one_that_names_an_operator() -> None:
    def chain(*texts: str) -> Exception:
        errors = [RuntimeError(text) for text in texts]
        for outer, inner in pairwise(errors):
            outer.__cause__ = inner
        return errors[0]

    assert (
        reason(chain("failed at step 0", "could not optimise", "initializer 'mean' is there twice")) == "initializer 'mean' is there twice"
    )
    assert reason(chain("failed at step 0", "no decomposition of aten.bessel", "KeyError")) == "no decomposition of aten.bessel"
    assert reason(chain("")) == "RuntimeError"


def test_a_network_that_cant_be_written_is_refused_with_the_reason(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Sorted can't be written as ONNX: ."):
        to_onnx(Network(Sorted(), Spec(shape=(1, 4, 4), classes=4)), tmp_path / "x.onnx")
    assert not (tmp_path / "x.onnx").exists()


@pytest.mark.parametrize("package", ["onnx", "onnxruntime"])
def test_a_missing_extra_names_its_install_command(
    package: str, files: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.partition(".")[0] == package:
            raise ImportError(f"No module named {name!r}", name=name)
        return real(name, *args, **kwargs)

    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(builtins, "__import__", without)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InputError, match=rf"needs the package '{package}'.*pip install 'tacit\[quantize\]' -c constraints.txt"):
        quantize_onnx(files["float"], digits("train").images[:8], tmp_path / "x.onnx")


def test_an_onnx_file_gives_no_gradients_and_is_copied_with_its_session(files: dict[str, Path]) -> None:
    frozen = Teacher.of(load(files["int8"]))
    assert frozen(torch.rand(1, 1, 8, 8)).shape == (1, 10)
    with pytest.raises(InputError, match="gives no gradients"):
        frozen(torch.rand(1, 1, 8, 8, requires_grad=True))


def test_a_broken_or_foreign_file_is_refused(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "broken.onnx").write_bytes(files["float"].read_bytes()[:500])
    with pytest.raises(InputError, match=r"broken.onnx can't be run: ."):
        load(tmp_path / "broken.onnx")
    with pytest.raises(InputError, match="there is no such file"):
        load(tmp_path / "none.onnx")
    import onnx

    foreign = onnx.load(str(files["float"]))
    del foreign.metadata_props[:]
    onnx.save(foreign, str(tmp_path / "foreign.onnx"))
    with pytest.raises(InputError, match="was not written by tacit: say what it expects: shape and classes"):
        load(tmp_path / "foreign.onnx")
    assert load(tmp_path / "foreign.onnx", shape=(1, 8, 8), classes=10).spec.mean == (0.0,)


def test_latency_takes_the_engines_in_turn(files: dict[str, Path], teacher: Teacher) -> None:
    calls: list[str] = []
    taken = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0.0, least=3)
    assert calls == ["a", "b"] * 4
    assert set(taken) == {"a", "b"}
    threads = torch.get_num_threads()
    found = compare_latency(teacher, files, seconds=0.0)
    assert set(found) == {"1", "64"}
    assert all(set(one) == {"torch", "float", "int8"} and min(one.values()) > 0 for one in found.values())
    assert torch.get_num_threads() == threads


def test_acceptance_is_agreement_and_cosine(teacher: Teacher, runtime: Runtime) -> None:
    shown = digits("test").images[:100]
    same = accept(teacher, teacher, shown, runtime)
    assert (same.agreement, same.images) == (1.0, 100)
    assert same.cosine == pytest.approx(1.0)

    class Turned(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            logits: Tensor = teacher.model(x)
            return 3 * logits.roll(1, dims=1) + 5

    turned = Network(Turned(), teacher.spec)
    other = accept(teacher, turned, shown, runtime)
    assert other.agreement == 0.0
    logits = teacher(shown.float().div(255))
    centred = logits - logits.mean(1, keepdim=True)
    wanted = torch.nn.functional.cosine_similarity(centred, centred.roll(1, dims=1), dim=1).mean()
    assert other.cosine == pytest.approx(float(wanted), abs=1e-5)
    with pytest.raises(InputError, match="acceptance: expected images, got none"):
        accept(teacher, turned, shown[:0], runtime)


def test_metadata_hold_the_spec_as_json(files: dict[str, Path]) -> None:
    kept = open_session(files["int8"]).metadata
    assert json.loads(kept["tacit.spec"])["classes"] == 10
    assert len(kept["tacit.sha256"]) == 64
