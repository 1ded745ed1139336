"""Reading samples: pictures, class numbers and masks of any kind, fitted to what a model expects."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tacit.core.batch import as_bytes
from tacit.core.errors import InputError
from tacit.core.parts import outline
from tacit.core.spec import VOID, Spec

__all__ = ["as_image", "as_mask", "read_sample"]

Label = int | Tensor
"""A class number, or a map of them, uint8 of shape (H, W)."""
BITS_PER_SAMPLE = 258
"""The tag of a TIFF file."""


def read_sample(rows: Any, number: int, image: str | int, label: str | int | None, spec: Spec | None) -> tuple[Tensor, Label]:
    """Return sample `number` of any set of rows: its image as uint8 (C, H, W), and its class number or mask.

    Args:
        rows: Anything with numbered rows.
        number: Which one.
        image: Where in a row the picture is.
        label: Where its label is: what is a picture or an array there is a mask. None: nobody has labelled it, which is said by -1.
        spec: What both are fitted to, where it is given.

    Raises:
        InputError: Where the sample can't be read; the message has its number.
    """
    try:
        return _read(rows[number], image, label, spec)
    except InputError as error:
        raise InputError(f"image {number}: {error}") from error
    except Exception as error:  # a data set may raise anything here, and all of it means: this sample can't be read
        reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
        raise InputError(f"image {number} can't be read: {reason}") from error


def _read(row: Any, image: str | int, label: str | int | None, spec: Spec | None) -> tuple[Tensor, Label]:
    try:
        picture, said = row[image], row[label] if label is not None else -1
    except (KeyError, IndexError, TypeError) as error:
        raise InputError(f"expected an image at {image!r} and its label at {label!r} of a sample, got {outline(row)}") from error
    if not (isinstance(said, Image.Image) or np.ndim(said) >= 2):
        return as_image(picture, spec), _as_label(said)
    if isinstance(picture, Image.Image) and isinstance(said, Image.Image) and picture.size != said.size:
        sizes = " and ".join(f"{one.width}x{one.height}" for one in (picture, said))
        raise InputError(f"it and its mask are of different sizes, {sizes}: expected a class for every pixel")
    return as_image(picture, spec), as_mask(said, spec)


def _as_label(label: Any) -> int:
    try:
        number = int(label)
        if not isinstance(label, str) and number != label:
            raise ValueError
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"expected class numbers as labels, got {label!r}") from error
    return number


def as_image(image: Any, spec: Spec | None) -> Tensor:
    """Return a picture (PIL, uint8 array or tensor, or floats in [0, 1]) as uint8 of shape (C, H, W), fitted to `spec` where given."""
    if isinstance(image, Image.Image):
        image = _in_8_bits(image)
        mode = image.mode if spec is None else {1: "L", 3: "RGB", 4: "RGBA"}.get(spec.shape[0], image.mode)
        picture = image.convert(mode if mode in ("L", "RGB", "RGBA") else "RGB")
        pixels = torch.from_numpy(np.array(_fitted(picture, spec, Image.Resampling.BILINEAR)))
        return pixels[None] if pixels.ndim == 2 else pixels.permute(2, 0, 1).contiguous()
    pixels = torch.as_tensor(image)
    pixels = pixels[None] if pixels.ndim == 2 else pixels
    if pixels.is_floating_point():
        if not (float(pixels.min()) >= -1e-3 and float(pixels.max()) <= 1 + 1e-3):
            raise InputError(
                f"float images must be in [0, 1], got {float(pixels.min()):.3g} to {float(pixels.max()):.3g}: "
                "leave normalising to the model's Spec"
            )
        pixels = as_bytes(pixels)
    if pixels.dtype != torch.uint8 or pixels.ndim != 3:
        raise InputError(f"expected uint8 or float images of shape (C, H, W), got {pixels.dtype} of shape {list(pixels.shape)}")
    return pixels


def _in_8_bits(image: Image.Image) -> Image.Image:
    """Return a grey picture of more than 8 bits with its upper 8, where Pillow's own conversion would cut off at 255; others as they are.

    Mode ``I;16`` has 16 bits, or the 12 of a TIFF file that says so. Mode ``I`` has what the file says (PNG and PGM: 16); where that says
    nothing, 16 if a value is above 255, and else it is refused. Mode ``F`` is in [0, 1], as other floats.
    """
    if image.mode == "F":
        return Image.fromarray(as_image(np.array(image), None)[0].numpy())
    if not image.mode.startswith("I"):
        return image
    values = np.asarray(image)
    least, most = int(values.min()), int(values.max())
    said = getattr(image, "tag_v2", {}).get(BITS_PER_SAMPLE)
    bits = int(said[0]) if said else 16 if image.mode != "I" or image.format in ("PNG", "PPM") else 32
    if bits > 16 and 0 < most <= 255:
        raise InputError(
            f"a grey picture of 32 bits (Pillow's mode I) with values up to {most} may be a dark one of 16 bits or one of 8: "
            "save it as one of these, or give an array of uint8"
        )
    bits = min(bits, 16)
    if least < 0 or most >= 2**bits:
        raise InputError(f"expected grey values of {bits} bits, 0 to {2**bits - 1}, got {least} to {most}")
    return Image.fromarray((values >> (bits - 8)).astype(np.uint8))


def as_mask(mask: Any, spec: Spec | None) -> Tensor:
    """Return a mask as uint8 of shape (H, W), fitted to `spec` as its picture is, without mixing classes; what is ignored becomes `VOID`.

    Args:
        mask: A picture whose pixels are class numbers (grey, or by a palette), or whole numbers of shape (H, W) or (1, H, W).
        spec: What it is fitted to, and whose `ignore` is left out.

    Raises:
        InputError: Where pixels are colours or fractions, or too large for 8 bits.
    """
    values = np.asarray(mask)
    if isinstance(mask, Image.Image) and values.ndim == 3:  # a grey picture may have been saved in colour
        if not (values[..., :3] == values[..., :1]).all():
            raise InputError("its mask is in colour: expected class numbers, as a grey picture or one with a palette (PNG)")
        values = values[..., 0]
    values = values[0] if values.ndim == 3 and len(values) == 1 else values
    if values.ndim != 2 or not (np.issubdtype(values.dtype, np.integer) or values.dtype == bool):
        raise InputError(f"expected masks of whole numbers, of shape (H, W), got {values.dtype} of shape {list(values.shape)}")
    if values.size and (values.min() < 0 or values.max() > VOID):
        raise InputError(f"expected mask values from 0 to {VOID}, got {values.min()} to {values.max()}")
    whole = values.astype(np.uint8)
    if isinstance(mask, Image.Image):
        whole = np.array(_fitted(Image.fromarray(whole), spec, Image.Resampling.NEAREST))
    if spec is not None and spec.ignore is not None:
        whole[whole == spec.ignore] = VOID
    return torch.from_numpy(whole)


def _fitted(picture: Image.Image, spec: Spec | None, how: Image.Resampling) -> Image.Image:
    if spec is None or picture.size == (spec.shape[2], spec.shape[1]):
        return picture
    height, width = spec.shape[1:]
    scale = max(width / picture.width, height / picture.height) / spec.crop
    resized = picture.resize((max(width, round(picture.width * scale)), max(height, round(picture.height * scale))), how)
    left, top = (resized.width - width) // 2, (resized.height - height) // 2
    return resized.crop((left, top, left + width, top + height))
