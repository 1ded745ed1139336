"""Files: whole or not at all, and an error in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tacit.core.errors import InputError, MissingExtraError, nearest
from tacit.core.files import hash_tensors, read_json, read_tensors, write_file, write_json, write_tensors


def failing(number: int) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_a_file_is_written_with_the_folders_above_it_and_no_other_file_stays(tmp_path: Path) -> None:
    write_file(tmp_path / "a" / "b" / "c.txt", "é")
    assert (tmp_path / "a" / "b" / "c.txt").read_bytes() == "é".encode()
    assert [path.name for path in (tmp_path / "a" / "b").iterdir()] == ["c.txt"]


@pytest.mark.parametrize("place", ["os.fsync", "pathlib.Path.replace"])
def test_an_error_in_the_middle_leaves_the_old_file_and_no_rest(place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "state.pt"
    write_file(path, b"old")
    monkeypatch.setattr(place, failing(errno.ENOSPC))
    with pytest.raises(InputError, match=r"can't write .*state\.pt: No space left on device; what was there before is untouched"):
        write_file(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_file_is_flushed_before_it_takes_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    flush, rename = os.fsync, Path.replace

    def flushing(number: int) -> None:
        order.append("fsync")
        flush(number)

    def renaming(self: Path, target: Path) -> Path:
        order.append("rename")
        return rename(self, target)

    monkeypatch.setattr(os, "fsync", flushing)
    monkeypatch.setattr(Path, "replace", renaming)
    write_file(tmp_path / "x", b"1")
    assert order == ["fsync", "rename"]


def test_a_folder_that_is_a_file_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="can't write"):
        write_file(tmp_path / "file" / "x", b"")


def test_json_that_can_not_be_written_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    write_json(path, {"a": 1})
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(path, {"a": float("nan")})
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("content", "words"), [(None, "no such file"), (b"{", "is not readable JSON"), (b"\xff\xfe", "is not readable JSON")]
)
def test_json_that_can_not_be_read_is_an_input_error(content: bytes | None, words: str, tmp_path: Path) -> None:
    if content is not None:
        (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=words):
        read_json(tmp_path / "x.json")


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=60) | st.binary(max_size=60).map(lambda rest: b"\x80\x02" + rest) | st.text(max_size=40).map(str.encode))
def test_any_rubbish_instead_of_weights_is_an_input_error(suffix: str, data: bytes, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data)
    with pytest.raises(InputError):
        read_tensors(path)


def test_tensors_come_back_with_type_shape_and_value(tmp_path: Path) -> None:
    tensors = {
        "half": torch.randn(3, 2).bfloat16(),
        "turned": torch.randn(2, 3, 4, 5).permute(0, 3, 1, 2),
        "number": torch.tensor(7),
        "none": torch.empty(0, 3),
        "flags": torch.tensor([True, False]),
    }
    write_tensors(tmp_path / "x.safetensors", tensors)
    again = read_tensors(tmp_path / "x.safetensors")
    assert again.keys() == tensors.keys()
    for name, value in tensors.items():
        assert again[name].dtype == value.dtype
        assert torch.equal(again[name], value)
    assert hash_tensors(again) == hash_tensors(tensors)


def test_the_hash_depends_on_name_type_shape_and_value_but_not_on_order_or_layout() -> None:
    a, b = torch.arange(6.0).view(2, 3), torch.ones(2, 2, 3, 3)
    base = hash_tensors({"a": a, "b": b})
    assert hash_tensors({"b": b.to(memory_format=torch.channels_last), "a": a.clone()}) == base
    others = [{"a": a, "c": b}, {"a": a.double(), "b": b}, {"a": a.view(3, 2), "b": b}, {"a": a + 1, "b": b}, {"a": a}]
    assert len({base, *map(hash_tensors, others)}) == 6


@pytest.mark.parametrize(
    ("name", "known", "said"),
    [
        ("DeepInverson", ["Gaussian", "DeepInversion"], "; did you mean 'DeepInversion'?"),
        ("dfad", ["Gaussian", "DFAD"], "; did you mean 'DFAD'?"),
        ("qqqq", ["a", "b", "c"], "; known: a, b, c"),
        ("qqqq", ["a", "b", "a", "c", "d", "e", "f", "g"], "; known: a, b, c, d, e, f, ..."),
        ("qqqq", [], ""),
    ],
)
def test_the_nearest_name_is_offered_or_some_are_listed(name: str, known: list[str], said: str) -> None:
    assert nearest(name, known) == said


def test_a_missing_extra_names_the_install_command() -> None:
    assert "pip install 'tacit[quantize]' -c constraints.txt" in str(MissingExtraError("onnx", "quantize", "exporting to ONNX"))
