"""Files that an engine runs, as networks: ONNX, OpenVINO and AOTInductor. They are for evaluation; they give no gradients."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import logging
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from tacit.core.errors import InputError, MissingExtraError
from tacit.core.network import Network
from tacit.core.spec import Spec

__all__ = ["SPEC", "FileModel", "Session", "is_engine_file", "load_file", "open_session", "quiet", "refuse_file"]

SPEC = "tacit.spec"
"""Key of the file's metadata under which the `Spec` is; a file that has it takes images in [0, 1]."""


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep what engines print and log on their way to themselves."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)


class Session(ABC):
    """A file, opened by its engine for the CPU.

    Args:
        file: The file.
        threads: How many the engine may use.

    Raises:
        MissingExtraError: Where the engine is not installed.
    """

    @abstractmethod
    def __init__(self, file: Path, threads: int) -> None: ...

    @property
    @abstractmethod
    def metadata(self) -> Mapping[str, str]:
        """What the file says of itself."""

    @abstractmethod
    def __call__(self, images: np.ndarray) -> np.ndarray:
        """Return the logits, (N, classes, ...), for float32 images (N, C, H, W)."""


class OnnxSession(Session):
    """An ONNX file with one image input and the logits as its first output, by ONNX Runtime."""

    def __init__(self, file: Path, threads: int) -> None:
        try:
            import onnxruntime
        except ImportError as error:
            raise MissingExtraError("onnxruntime", "quantize", "running an ONNX file") from error
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
        self.input = self.session.get_inputs()[0].name

    @property
    def metadata(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.session.get_modelmeta().custom_metadata_map
        return found

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.session.run(None, {self.input: images})[0])


OPTIONS = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
"""Of OpenVINO, which computes a float file in bf16 where the CPU can: floating point means fp32 here, as for the others."""


class OpenVinoSession(Session):
    """An OpenVINO file (``.xml`` with its ``.bin`` beside it)."""

    def __init__(self, file: Path, threads: int) -> None:
        try:
            import openvino
        except ImportError as error:
            raise MissingExtraError("openvino", "openvino", "running an OpenVINO file") from error
        core = openvino.Core()
        self.graph = core.read_model(str(file))
        self.compiled = core.compile_model(self.graph, "CPU", {**OPTIONS, "INFERENCE_NUM_THREADS": threads})

    @property
    def metadata(self) -> Mapping[str, str]:
        names = [name for name in (SPEC, "tacit.sha256", "tacit.target") if self.graph.has_rt_info(name.split("."))]
        return {name: str(self.graph.get_rt_info(name.split(".")).value) for name in names}

    def __call__(self, images: np.ndarray) -> np.ndarray:
        return np.asarray(self.compiled(images)[0])


class PackageSession(Session):
    """A package that AOTInductor compiled for this kind of CPU (``.pt2``); it takes one image at a time."""

    def __init__(self, file: Path, threads: int) -> None:
        import torch._inductor

        with quiet():
            self.package = torch._inductor.aoti_load_package(str(file))  # on as many threads as torch

    @property
    def metadata(self) -> Mapping[str, str]:
        found: Mapping[str, str] = self.package.get_metadata()
        return found

    def __call__(self, images: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            found = [self.package(image).clone() for image in torch.split(torch.from_numpy(images), 1)]
        return np.asarray(torch.cat(found).numpy())


SESSIONS: Mapping[str, type[Session]] = {".onnx": OnnxSession, ".xml": OpenVinoSession, ".pt2": PackageSession}
"""By the file's suffix."""


def is_engine_file(path: str | Path) -> bool:
    """Return whether a path is that of a file that an engine runs."""
    return Path(path).suffix in SESSIONS


def open_session(file: Path, *, threads: int | None = None) -> Session:
    """Return a file opened by its engine.

    Args:
        file: With one of the suffixes in `SESSIONS`.
        threads: Not given: as many as torch uses.

    Raises:
        InputError: Where the file is missing, or its engine can't run it.
    """
    if not file.is_file():
        raise InputError(f"{file}: there is no such file")
    try:
        return SESSIONS[file.suffix](file, threads or torch.get_num_threads())
    except InputError:
        raise
    except Exception as error:  # each engine has kinds of its own; all mean that the file can't be run
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"{file} can't be run: {reason}") from error


class FileModel(nn.Module):
    """A file that an engine runs, as a module.

    Args:
        file: The file.
    """

    digest: Tensor

    def __init__(self, file: Path) -> None:
        super().__init__()
        self.file = file
        self.session = open_session(file)
        content = b"".join(part.read_bytes() for part in (file, file.with_suffix(".bin")) if part.is_file())
        self.register_buffer("digest", torch.frombuffer(bytearray(hashlib.sha256(content).digest()), dtype=torch.uint8).clone())

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits for images of shape (N, C, H, W)."""
        if torch.is_grad_enabled() and images.requires_grad:
            raise InputError(f"{self.file} gives no gradients, which an engine does not compute: use the network that it was made of")
        return torch.from_numpy(self.session(images.detach().float().cpu().numpy())).to(images.device)

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in self.__dict__.items() if key != "session"}  # a session can't be copied

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.session = open_session(self.file)


def load_file(file: Path, given: Mapping[str, Any]) -> Network:
    """Return a file that an engine runs as a network.

    Args:
        file: Written by tacit, which puts the `Spec` into its metadata; or another's, for which `given` has ``shape`` and ``classes``.
        given: Fields of `Spec`.
    """
    model = FileModel(file)
    kept = model.session.metadata.get(SPEC)
    described = {**(json.loads(kept) if kept else {}), **given}
    missing = [name for name in ("shape", "classes") if name not in described]
    if missing:
        raise InputError(f"{file} was not written by tacit: say what it expects: {' and '.join(missing)}")
    if kept:
        described |= {"output": None, "upsample": None}  # the file gives the logits alone, whatever its network did
    return Network(model, Spec(**described), normalise=not kept)


def refuse_file(network: Network) -> None:
    """Raise `InputError` where a network is a file that an engine runs, for what needs to look into it."""
    if isinstance(network.model, FileModel):
        raise InputError(f"{network.model.file} is run by an engine, so that its layers can't be reached: give the network it was made of")
