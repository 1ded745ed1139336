"""Records: downloads and uploads as Flower carries them, and back, without loss.

| record | kind | in a download | in an upload |
|---|---|---|---|
| ``arrays`` | arrays | the shared weights | the same |
| ``generator`` | arrays | the server's generator, once it was trained | |
| ``tensors`` | arrays | what else an algorithm sends, as mean logits | the same |
| ``config`` | config | numbers of the training; ``tacit.round``, ``tacit.federation``, ``tacit.transport`` | ``tacit.transport`` |
| ``metrics`` | metrics | | ``num-examples``, ``loss``, ``accuracy`` |
| ``label-counts`` | config | | ``counts``, where they are told |

With the transport ``bytes``, ``arrays`` is the only record of its kind and holds floating point numbers alone: all else is bytes in
``config``, as safetensors. Flower's modifiers for differential privacy want that (flwr 1.41): they answer a second record of arrays with an
error, and can't add noise to whole numbers. Types that numpy lacks, as bfloat16, always go as bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal, get_args

import torch
from safetensors.torch import load, save
from torch import Tensor

from tacit.core.errors import InputError, import_extra
from tacit.federate.messages import Download, Tensors, Upload

if TYPE_CHECKING:
    from flwr.app import ArrayRecord, RecordDict

__all__ = [
    "EXAMPLES",
    "Transport",
    "arrays_of",
    "check_transport",
    "download_record",
    "read_download",
    "read_upload",
    "tensors_of",
    "upload_record",
]

Transport = Literal["array", "bytes"]
EXAMPLES = "num-examples"
"""The name that Flower has for the number of images of a client."""
OURS = "tacit."
"""What our own keys of a config begin with; an algorithm's never do."""
NUMPY = {torch.float16, torch.float32, torch.float64, torch.int8, torch.int16, torch.int32, torch.int64, torch.uint8, torch.bool}
"""Types that numpy has too."""


def check_transport(transport: str) -> None:
    """Raise `InputError` where there is no such transport."""
    if transport not in get_args(Transport):
        raise InputError(f"transport: expected {' or '.join(get_args(Transport))}, got {transport!r}")


def arrays_of(tensors: Tensors) -> ArrayRecord:
    """Return tensors of types that numpy has as a record, in their order."""
    flower = import_extra("flwr.app", "federate", "Flower")
    record: ArrayRecord = flower.ArrayRecord(
        {key: flower.Array(value.detach().cpu().contiguous().numpy()) for key, value in tensors.items()}
    )
    return record


def tensors_of(record: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the tensors of a record of arrays, each a copy of its own."""
    return {key: torch.from_numpy(array.numpy().copy()) for key, array in record.items()}


def _packed(transport: Transport, weights: Tensors, groups: Mapping[str, Tensors | None]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return records of arrays, and what goes into the config."""
    flat = {key for key, value in weights.items() if value.dtype in NUMPY and (transport == "array" or value.is_floating_point())}
    records: dict[str, Any] = {"arrays": arrays_of({key: value for key, value in weights.items() if key in flat})}
    config: dict[str, Any] = {f"{OURS}transport": transport}
    rest = {key: value for key, value in weights.items() if key not in flat}
    for name, group in {"rest": rest or None, **groups}.items():
        if group is None:
            continue
        if transport == "array" and name != "rest" and all(value.dtype in NUMPY for value in group.values()):
            records[name] = arrays_of(group)
        else:
            config[f"{OURS}{name}"] = save({key: value.detach().cpu().contiguous() for key, value in group.items()})
            config[f"{OURS}{name}.order"] = list(weights if name == "rest" else group)  # which safetensors does not keep
    return records, config


def _unpacked(record: RecordDict, config: Mapping[str, Any], name: str) -> dict[str, Tensor] | None:
    if name in record.array_records:
        return tensors_of(record.array_records[name])
    stored = config.get(f"{OURS}{name}")
    if stored is None:
        return None
    beside = tensors_of(record.array_records["arrays"]) if name == "rest" else {}
    found = {**beside, **load(stored)}
    return {key: found[key] for key in config[f"{OURS}{name}.order"]}


def _weights(record: RecordDict, config: Mapping[str, Any]) -> dict[str, Tensor]:
    return _unpacked(record, config, "rest") or tensors_of(record.array_records["arrays"])


def download_record(download: Download, transport: Transport = "array") -> RecordDict:
    """Return a download as Flower carries it."""
    flower = import_extra("flwr.app", "federate", "Flower")
    records, config = _packed(transport, download.weights, {"generator": download.generator, "tensors": download.tensors or None})
    config |= {**download.config, f"{OURS}round": download.round, f"{OURS}federation": download.federation}
    made: RecordDict = flower.RecordDict({**records, "config": flower.ConfigRecord(config)})
    return made


def read_download(record: RecordDict) -> Download:
    """Return the download that a record holds."""
    config: Mapping[str, Any] = record.config_records["config"]
    return Download(
        round=int(config[f"{OURS}round"]),
        federation=str(config[f"{OURS}federation"]),
        weights=_weights(record, config),
        generator=_unpacked(record, config, "generator"),
        tensors=_unpacked(record, config, "tensors") or {},
        config={key: value for key, value in config.items() if not key.startswith(OURS)},
    )


def upload_record(upload: Upload, transport: Transport = "array") -> RecordDict:
    """Return an upload as Flower carries it, the way the download came."""
    flower = import_extra("flwr.app", "federate", "Flower")
    records, config = _packed(transport, upload.weights, {"tensors": upload.tensors or None})
    records["metrics"] = flower.MetricRecord({EXAMPLES: upload.examples, **upload.metrics})
    records["config"] = flower.ConfigRecord(config)
    if upload.counts is not None:
        records["label-counts"] = flower.ConfigRecord({"counts": [float(count) for count in upload.counts]})
    made: RecordDict = flower.RecordDict(records)
    return made


def read_upload(record: RecordDict) -> Upload:
    """Return the upload that a record holds. It may raise anything where the record is none of ours; values are not looked at."""
    metrics: dict[str, Any] = dict(record.metric_records["metrics"])
    counts = record.config_records.get("label-counts")
    config: Mapping[str, Any] = record.config_records["config"]
    return Upload(
        weights=_weights(record, config),
        examples=metrics.pop(EXAMPLES),
        counts=tuple(float(count) for count in counts["counts"]) if counts is not None else None,  # type: ignore[union-attr]
        tensors=_unpacked(record, config, "tensors") or {},
        metrics={name: float(value) for name, value in metrics.items()},
    )
