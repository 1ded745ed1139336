"""Models in and out: what is loaded, what is refused before any work, and that no code of a weights file ever runs."""

from __future__ import annotations

import json
import pickle
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import tacit
from tacit.core.errors import InputError
from tacit.core.models import ModelRef, import_object, load, model_hash, save
from tacit.core.network import Network, Origin, Teacher
from tacit.core.spec import Spec
from toy import BNNet, GroupNet

SPEC = Spec(shape=(1, 6, 6), classes=5, mean=(0.25,), std=(0.5,), names=tuple("abcde"))
FIELDS: dict[str, Any] = {"shape": (1, 6, 6), "classes": 5}


def made(width: int = 3) -> Network:
    model = BNNet(width=width)
    with torch.no_grad():
        for parameter in [*model.parameters(), model.bn1.get_buffer("running_mean"), model.bn2.get_buffer("running_mean")]:
            parameter.normal_()
    return Network(model.eval(), SPEC, origin=Origin(factory="toy:BNNet", kwargs={"width": width}))


def test_a_saved_network_comes_back_bit_for_bit(tmp_path: Path) -> None:
    network, images = made(), torch.rand(4, 1, 6, 6)
    save(network, tmp_path / "a")
    again = load(tmp_path / "a")
    assert torch.equal(again.eval()(images), network(images))
    assert again.spec == network.spec
    assert again.origin == network.origin
    assert model_hash(again) == model_hash(network)
    described = json.loads((tmp_path / "a" / "model.json").read_text())
    assert described["sha256"] == model_hash(network)
    assert described["parameters"] == sum(p.numel() for p in network.parameters())
    save(again, tmp_path / "b")
    for name in ("model.json", "weights.safetensors"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_a_network_in_channels_last_is_saved_alike(tmp_path: Path) -> None:
    network, images = made(), torch.rand(4, 1, 6, 6)
    before = model_hash(network)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save(network, tmp_path)
    assert model_hash(network) == before == model_hash(load(tmp_path))
    torch.testing.assert_close(load(tmp_path).eval()(images), network(images))


def test_tied_weights_are_saved_and_loaded(tmp_path: Path) -> None:
    network = made()
    network.model.conv1.bias = network.model.bn1.weight  # type: ignore[union-attr]
    save(network, tmp_path)
    assert torch.equal(load(tmp_path).eval()(torch.ones(1, 1, 6, 6)), network(torch.ones(1, 1, 6, 6)))


def test_a_run_folder_with_a_model_inside_is_a_model_folder(tmp_path: Path) -> None:
    save(made(), tmp_path / "model")
    assert isinstance(load(tmp_path).model, BNNet)


def test_fields_given_beside_a_folder_win(tmp_path: Path) -> None:
    save(made(), tmp_path)
    assert load(tmp_path, mean=(0.0,)).spec.mean == (0.0,)


def test_a_network_saved_from_a_live_object_says_how_to_load_it(tmp_path: Path) -> None:
    save(Network(BNNet(), SPEC), tmp_path)
    with pytest.raises(InputError, match=r"saved from a live object: .*\.weights .*weights\.safetensors"):
        load(tmp_path)
    assert load("toy:BNNet", weights=tmp_path / "weights.safetensors").spec == SPEC
    assert load("toy:BNNet", weights=tmp_path / "weights.safetensors", mean=(0.5,)).spec == replace(SPEC, mean=(0.5,))


def test_a_network_whose_arguments_json_can_not_hold_can_still_be_saved(tmp_path: Path) -> None:
    network = Network(BNNet(), SPEC, origin=Origin(factory="toy:BNNet", kwargs={"activation": nn.ReLU}))
    save(network, tmp_path)
    assert (tmp_path / "model.json").is_file()


def as_safetensors(state: dict[str, Tensor], path: Path) -> None:
    save_file(state, path)


def as_state_dict(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path)


def as_checkpoint(state: dict[str, Tensor], path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": state, "best": 0.5}, path)


def as_model_key(state: dict[str, Tensor], path: Path) -> None:
    torch.save({"model": state}, path)


def as_parallel(state: dict[str, Tensor], path: Path) -> None:
    torch.save({f"module.{key}": value for key, value in state.items()}, path)


def as_compiled(state: dict[str, Tensor], path: Path) -> None:
    torch.save({f"_orig_mod.{key}": value for key, value in state.items()}, path)


def as_old_format(state: dict[str, Tensor], path: Path) -> None:
    torch.save(state, path, _use_new_zipfile_serialization=False)


@pytest.mark.parametrize(
    ("write", "name"),
    [
        (as_safetensors, "w.safetensors"),
        (as_state_dict, "w.pt"),
        (as_checkpoint, "w.pth"),
        (as_model_key, "w.pt"),
        (as_parallel, "w.pt"),
        (as_compiled, "w.pt"),
        (as_old_format, "w.pt"),
    ],
)
def test_an_import_path_is_built_with_its_arguments_and_any_sort_of_weights(
    write: Callable[[dict[str, Tensor], Path], None], name: str, tmp_path: Path
) -> None:
    network, images = made(width=6), torch.rand(3, 1, 6, 6)
    write(dict(network.model.state_dict()), tmp_path / name)
    again = load("toy:BNNet", kwargs={"width": 6}, weights=tmp_path / name, mean=(0.25,), std=(0.5,), **FIELDS)
    assert torch.equal(again.eval()(images), network(images))


def test_a_seed_fixes_the_weights_that_a_factory_draws() -> None:
    reference = ModelRef(path="toy:BNNet", **FIELDS)
    hashes = [model_hash(reference.load(seed=seed)) for seed in (0, 0, 1)]
    assert hashes[0] == hashes[1] != hashes[2]


def test_a_teacher_spec_fills_in_what_a_student_does_not_say_but_not_where_its_logits_are() -> None:
    theirs = Spec(shape=(1, 6, 6), classes=5, mean=(0.25,), std=(0.5,), names=tuple("abcde"), output="logits")
    assert ModelRef(path="toy:BNNet").load(theirs).spec == SPEC
    assert ModelRef(path="toy:BNNet", mean=(0.0,)).load(theirs).spec.mean == (0.0,)


@pytest.mark.parametrize("name", ["missing.safetensors", "missing.pt"])
def test_missing_weights_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=f"no weights at .*{name}"):
        load("toy:BNNet", weights=tmp_path / name, **FIELDS)


@pytest.mark.parametrize(("write", "name"), [(as_safetensors, "w.safetensors"), (as_state_dict, "w.pt"), (as_old_format, "w.pt")])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.95])
def test_truncated_weights_are_refused(write: Callable[[dict[str, Tensor], Path], None], name: str, share: float, tmp_path: Path) -> None:
    path = tmp_path / name
    write(dict(made(width=3).model.state_dict()), path)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=str(path)):
        load("toy:BNNet", kwargs={"width": 3}, weights=path, **FIELDS)


def test_wrong_keys_are_refused_and_the_first_five_are_named(tmp_path: Path) -> None:
    state = dict(BNNet().state_dict())
    save_file({key: value for key, value in state.items() if not key.startswith("bn")}, tmp_path / "few.safetensors")
    with pytest.raises(InputError) as raised:
        load("toy:BNNet", weights=tmp_path / "few.safetensors", **FIELDS)
    first = [key for key in state if key.startswith("bn")][:5]
    assert f"lacks {', '.join(first)} and 5 more: these are weights of another model than BNNet" in str(raised.value)
    torch.save({**state, "extra.weight": torch.zeros(1)}, tmp_path / "more.pt")
    with pytest.raises(InputError, match=r"more\.pt has unknown extra\.weight: these are weights of another"):
        load("toy:BNNet", weights=tmp_path / "more.pt", **FIELDS)


def test_wrong_shapes_are_refused_with_expected_and_got(tmp_path: Path) -> None:
    save_file(BNNet(width=8).state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(InputError, match=r"conv1.weight has shape \[8, 1, 3, 3\], the model expects \[4, 1, 3, 3\]"):
        load("toy:BNNet", weights=tmp_path / "w.safetensors", **FIELDS)


def test_nan_weights_are_refused_when_loaded(tmp_path: Path) -> None:
    network = made()
    with torch.no_grad():
        network.model.get_parameter("head.bias")[2] = float("nan")
    save(network, tmp_path)
    with pytest.raises(InputError, match=r"NaN or infinite values, first in 'head\.bias'"):
        load(tmp_path)


class Bomb:
    """A pickle that makes a folder when it is loaded."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.mkdir, (self.target,)


@pytest.mark.parametrize("protocol", ["torch", "torch-old", "pickle"])
@pytest.mark.parametrize("nested", [False, True])
def test_code_in_a_weights_file_does_not_run(protocol: str, nested: bool, tmp_path: Path) -> None:
    target, path = tmp_path / "burst", tmp_path / "w.pt"
    bomb: Any = {"state_dict": {"head.bias": torch.zeros(5), "x": Bomb(target)}} if nested else Bomb(target)
    if protocol == "pickle":
        path.write_bytes(pickle.dumps(bomb))
    else:
        torch.save(bomb, path, _use_new_zipfile_serialization=protocol == "torch")
    with pytest.raises(InputError, match="never unpickles that: save the state_dict"):
        load("toy:BNNet", weights=path, **FIELDS)
    assert not target.exists()
    if protocol != "pickle":
        torch.load(path, weights_only=False)
        assert target.is_dir()


def test_a_whole_pickled_module_is_refused(tmp_path: Path) -> None:
    torch.save(BNNet(), tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"holds more than tensors"):
        load("toy:BNNet", weights=tmp_path / "w.pt", **FIELDS)


@pytest.mark.parametrize("prefix", ["", "module.", "model.", "net.student."])
@pytest.mark.parametrize("key", [None, "state_dict", "net", "ema"])
def test_weights_are_found_inside_a_checkpoint_and_behind_a_prefix(key: str | None, prefix: str, tmp_path: Path) -> None:
    weights = BNNet().state_dict()
    named = {f"{prefix}{name}": value for name, value in weights.items()} | ({"loss.weight": torch.ones(1)} if "net" in prefix else {})
    torch.save(named if key is None else {key: named, "epoch": 3, "optimizer": {"lr": 0.1, "state": {}}}, tmp_path / "w.pt")
    loaded = load("toy:BNNet", weights=tmp_path / "w.pt", **FIELDS)
    assert all(torch.equal(value, weights[name]) for name, value in loaded.model.state_dict().items())


def test_of_two_sets_of_weights_in_a_checkpoint_none_is_taken(tmp_path: Path) -> None:
    torch.save({"one": BNNet().state_dict(), "two": BNNet().state_dict()}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"holds no state_dict: .* got one: OrderedDict, two: OrderedDict"):
        load("toy:BNNet", weights=tmp_path / "w.pt", **FIELDS)


@pytest.mark.parametrize("value", [torch.zeros(3), [torch.zeros(3)], {"a": 1}, {"a": torch.zeros(1), "b": "text"}, 5])
def test_a_file_without_a_state_dict_is_refused(value: Any, tmp_path: Path) -> None:
    torch.save(value, tmp_path / "w.pt")
    with pytest.raises(InputError, match="holds no state_dict: expected a mapping from names to tensors"):
        load("toy:BNNet", weights=tmp_path / "w.pt", **FIELDS)


def test_a_mapping_with_numbers_for_names_is_refused(tmp_path: Path) -> None:
    torch.save({0: torch.zeros(1)}, tmp_path / "w.pt")
    with pytest.raises(InputError, match=r"w\.pt"):
        load("toy:BNNet", weights=tmp_path / "w.pt", **FIELDS)


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("toy:NUMBER", "toy:NUMBER is a int, expected an nn.Module class or a function"),
        ("toy:no_model", "toy:no_model made a int, expected an nn.Module"),
        ("toy:BNNett", "toy has no 'BNNett'; did you mean 'BNNet'"),
        ("toy:BNNet.nothing", "toy has no 'BNNet.nothing'"),
        ("no_such_package.models:net", "can't import 'no_such_package.models'"),
        (":BNNet", "can't import"),
        ("..toy:BNNet", "can't import"),
        ("no/such/folder", r"no/such/folder is no model folder \(there is no such folder\)"),
        ("", "is no model folder"),
    ],
)
def test_a_path_that_gives_no_model_is_refused(path: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        load(path, **FIELDS)


def test_a_module_that_python_can_not_parse_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfwritten.py").write_text("def net(:\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match="can't import 'halfwritten'"):
        load("halfwritten:net", **FIELDS)


def test_arguments_that_do_not_bind_are_refused() -> None:
    with pytest.raises(InputError, match=r"toy:BNNet can't be called with \{'widht': 3\}: .*unexpected keyword argument 'widht'"):
        load("toy:BNNet", kwargs={"widht": 3}, **FIELDS)


@pytest.mark.parametrize(("fields", "words"), [({}, "shape and classes"), ({"classes": 5}, "shape"), ({"shape": (1, 6, 6)}, "classes")])
def test_an_import_path_must_come_with_shape_and_classes(fields: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=f"say what the model expects: {words} "):
        load("toy:BNNet", **fields)


@pytest.mark.parametrize(
    "text", ["{", "[]", '{"spec": {}}', '{"spec": {"shape": [1, 6, 6], "classes": 5, "sides": 3}, "factory": "toy:BNNet"}']
)
def test_a_model_json_of_somebody_else_is_refused(text: str, tmp_path: Path) -> None:
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match=r"model\.json"):
        load(tmp_path)


def test_several_paths_make_an_ensemble(tmp_path: Path) -> None:
    networks, images = [made(), made(4)], torch.rand(3, 1, 6, 6)
    for number, network in enumerate(networks):
        save(network, tmp_path / str(number))
    together = ModelRef(path=[str(tmp_path / "0"), str(tmp_path / "1")]).load()
    torch.testing.assert_close(Teacher.of(together)(images), sum((n(images) for n in networks), torch.zeros(3, 5)) / 2)


@pytest.mark.parametrize("fields", [{"kwargs": {"width": 3}}, {"weights": Path("w.pt")}])
def test_kwargs_and_weights_are_refused_beside_several_paths(fields: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="kwargs and weights belong to one model"):
        ModelRef(path=["toy:BNNet", "toy:BNNet"], shape=(1, 6, 6), classes=5, **fields).load()


def test_no_model_at_all_is_refused() -> None:
    with pytest.raises(InputError, match="no model was given"):
        ModelRef(path=[]).load()


def test_a_module_in_the_working_directory_is_found(tmp_path: Path) -> None:
    (tmp_path / "here_only.py").write_text(
        "from torch import nn\n\n\ndef net():\n    return nn.Sequential(nn.Flatten(), nn.Linear(4, 2))\n"
    )
    code = "import tacit; print(tacit.load('here_only:net', shape=(1, 2, 2), classes=2).spec.classes)"
    done = subprocess.run([sys.executable, "-P", "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.strip() == "2", done.stderr


def test_the_tiny_teacher_is_a_folder_that_tacit_loads(teacher_folder: Path, teacher_network: Network) -> None:
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(tacit.load(teacher_folder).eval()(images), teacher_network(images))


def test_import_object_follows_dots() -> None:
    assert import_object("toy:GroupNet.forward") is GroupNet.forward


@pytest.mark.parametrize("factory", ["os:system", "subprocess:run", "builtins:eval", "pathlib:Path"])
def test_a_model_folder_that_names_a_function_of_python_itself_is_refused(factory: str, tmp_path: Path) -> None:
    described = {"factory": factory, "kwargs": {}, "spec": {"shape": [1, 4, 4], "classes": 2}}
    (tmp_path / "model.json").write_text(json.dumps(described))
    with pytest.raises(InputError, match=r"expected an nn\.Module class or a function that makes a model"):
        load(tmp_path)
