"""Downloads and answers as records of Flower: nothing is lost on the way, whatever the type."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("flwr")

from flwr.app import ArrayRecord, ConfigRecord, MetricRecord, RecordDict

from tacit.core.errors import InputError, MissingExtraError
from tacit.federate import Download, Upload
from tacit.federate.flower import download_record, read_download, read_upload, records, upload_record
from tacit.federate.flower.engine import answer
from tacit.federate.flower.records import check_transport
from toyfed import network

TYPES = [torch.float32, torch.float64, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.uint8, torch.bool]


def every_type(shape: tuple[int, ...] = (2, 3)) -> dict[str, Tensor]:
    torch.manual_seed(0)
    made = {str(kind).partition(".")[2]: (torch.randn(shape) * 3).to(kind) for kind in TYPES}
    special = {
        "number": torch.tensor(2**53 + 1),
        "scale": torch.tensor(-0.0),
        "empty": torch.zeros(0, 4),
        "nan": torch.tensor([float("nan")]),
    }
    return made | special


def same(one: Any, two: Any) -> bool:
    if isinstance(one, Tensor):
        bits = [value.contiguous().reshape(-1).view(torch.uint8) for value in (one, two)]
        return one.dtype == two.dtype and one.shape == two.shape and torch.equal(*bits)
    if isinstance(one, dict) and one and isinstance(next(iter(one.values())), Tensor):
        return list(one) == list(two) and all(same(one[key], two[key]) for key in one)
    return bool(one == two) and type(one) is type(two)


DOWNLOADS = {
    "empty": Download(round=0),
    "types": Download(round=3, weights=every_type(), config={"lr": 0.1, "steps": 3, "public": True, "word": "a"}),
    "generator": Download(
        round=1, federation="a1", weights={"w": torch.ones(2)}, generator=every_type((4,)), tensors={"prior": torch.rand(10)}
    ),
    "network": Download(round=9, weights=dict(network().model.state_dict()), tensors={"t": torch.ones(2, dtype=torch.bfloat16)}),
}
UPLOADS = {
    "measured": Upload(examples=7, metrics={"accuracy": 0.25}),
    "types": Upload(weights=every_type(), examples=5, counts=(0.0, 3.5), tensors=every_type((1,)), metrics={"loss": 0.5}),
    "network": Upload(weights=dict(network().model.state_dict()), examples=2**40),
    "withheld": Upload(weights={"w": torch.ones(2)}, examples=1, counts=None),
}


@pytest.mark.parametrize("transport", ["array", "bytes"])
@pytest.mark.parametrize("name", DOWNLOADS)
def test_a_download_comes_back_as_it_was(name: str, transport: Any) -> None:
    download = DOWNLOADS[name]
    back = read_download(download_record(download, transport))
    for field in fields(Download):
        assert same(getattr(download, field.name), getattr(back, field.name)), field.name
    assert all(value.data_ptr() != download.weights[key].data_ptr() for key, value in back.weights.items() if value.numel())


@pytest.mark.parametrize("transport", ["array", "bytes"])
@pytest.mark.parametrize("name", UPLOADS)
def test_an_answer_comes_back_as_it_was(name: str, transport: Any) -> None:
    back = read_upload(upload_record(UPLOADS[name], transport))
    for field in fields(Upload):
        assert same(getattr(UPLOADS[name], field.name), getattr(back, field.name)), field.name


def test_each_part_has_the_record_that_it_should() -> None:
    record = download_record(replace(DOWNLOADS["generator"], generator={"w": torch.ones(2), "n": torch.tensor(3)}))
    assert set(record.array_records) == {"arrays", "generator", "tensors"}
    assert set(record.config_records) == {"config"}
    record = upload_record(UPLOADS["types"])
    assert set(record.array_records) == {"arrays"}  # tensors hold a bfloat16, so that they are bytes
    assert set(record.config_records) == {"config", "label-counts"}
    assert record.config_records["label-counts"] == ConfigRecord({"counts": [0.0, 3.5]})
    assert record.metric_records == {"metrics": MetricRecord({"num-examples": 5, "loss": 0.5})}


def test_as_bytes_there_is_one_record_of_arrays_and_it_holds_floating_point_numbers_alone() -> None:
    for record in (download_record(DOWNLOADS["generator"], "bytes"), download_record(DOWNLOADS["network"], "bytes")):
        assert set(record.array_records) == {"arrays"}
        assert len(record.config_records) == 1
        assert {array.numpy().dtype.kind for array in record.array_records["arrays"].values()} == {"f"}


@pytest.mark.parametrize(
    "content",
    [
        RecordDict(),
        RecordDict({"arrays": ArrayRecord()}),
        RecordDict({"arrays": ArrayRecord(), "metrics": MetricRecord({"loss": 0.5}), "config": ConfigRecord()}),
        RecordDict({"arrays": ArrayRecord(), "metrics": MetricRecord({"num-examples": 1, "loss": [0.5, 1.0]}), "config": ConfigRecord()}),
        RecordDict(
            {"arrays": ArrayRecord(), "metrics": MetricRecord({"num-examples": 1}), "config": ConfigRecord({"tacit.tensors": b"\x80\x04"})}
        ),
    ],
)
def test_an_answer_of_another_make_is_lost_with_its_reason_and_raises_nothing(content: RecordDict) -> None:
    class Reply:
        def has_error(self) -> bool:
            return False

    reply: Any = Reply()
    reply.content = content
    lost = answer(reply)
    assert "its answer can't be read" in getattr(lost, "reason", "")


def test_an_unknown_transport_is_refused() -> None:
    with pytest.raises(InputError, match="transport: expected array or bytes, got 'pigeon'"):
        check_transport("pigeon")


def test_without_flower_one_line_says_how_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "flwr.app", None)
    with pytest.raises(MissingExtraError, match=r"Flower needs the package 'flwr': install it with `pip install 'tacit\[federate\]'"):
        records.download_record(DOWNLOADS["empty"])
