"""Folders of images and masks: pairs of pictures, found by their names."""

from __future__ import annotations

from pathlib import Path

from PIL import Image

from tacit.core.errors import InputError

__all__ = ["MaskFolder", "has_masks", "mask_folder"]

IMAGES = ("images", "image", "imgs", "img", "JPEGImages")
MASKS = ("masks", "mask", "annotations", "labels", "label", "SegmentationClass")
SPLITS = (("train", "training"), ("test", "testing"), ("validation", "val", "valid"))
"""Names that one split may have."""
SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff")
ENDS = ("", "_mask", "_masks", "_label", "_labels", "_L", "_gt", "-mask")
"""What may stand behind the name of an image in that of its mask."""


class MaskFolder:
    """Pairs of an image and its mask, opened when they are asked for.

    Args:
        pairs: Paths of both.
        names: Names of the classes, where they are known.
    """

    def __init__(self, pairs: list[tuple[Path, Path]], names: tuple[str, ...] = ()) -> None:
        self.pairs, self.names = pairs, names

    def __len__(self) -> int:
        return len(self.pairs)

    def __getitem__(self, number: int) -> tuple[Image.Image, Image.Image]:
        image, mask = (Image.open(path) for path in self.pairs[number])
        image.load()
        mask.load()
        return image, mask


Places = list[tuple[Path, Path]]
"""Folders of images, and of their masks."""


def _there(pairs: Places) -> Places:
    return [(images, masks) for images, masks in pairs if images.is_dir() and masks.is_dir()]


def _of_split(folder: Path, names: tuple[str, ...]) -> Places:
    """Return the places of a split: ``train/images``, ``images/train``, or ``train`` beside ``trainannot``."""
    kinds = [(images, masks) for images in IMAGES for masks in MASKS]
    inside = [(folder / name / images, folder / name / masks) for name in names for images, masks in kinds]
    above = [(folder / images / name, folder / masks / name) for name in names for images, masks in kinds]
    return _there([*inside, *above, *((folder / name, folder / f"{name}annot") for name in names)])


def _of_all(folder: Path) -> Places:
    return _there([(folder / images, folder / masks) for images in IMAGES for masks in MASKS])


def has_masks(folder: Path) -> bool:
    """Whether `folder` holds images and masks in folders of their own, with or without splits; see `mask_folder`."""
    return bool(_of_all(folder) or any(_of_split(folder, names) for names in SPLITS))


def mask_folder(folder: Path, split: str) -> MaskFolder:
    """Return the pairs of a split, in the order of their names; a folder without splits is ``train``.

    Images are in ``images/`` (``train/images`` or ``images/train``), masks in ``masks/``, ``annotations/`` or ``labels/`` beside them; or
    in ``train/`` and ``trainannot/``. A file ``classes.txt`` in `folder`, one name a line, names the classes.

    Raises:
        InputError: Where there is no such split, or an image has no mask.
    """
    splits = [names[0] for names in SPLITS if _of_split(folder, names)]
    places = _of_split(folder, next((names for names in SPLITS if split in names), (split,)))
    if not places and split == "train" and not splits:
        places = _of_all(folder)
    if not places:
        raise InputError(f"{folder} has no split {split!r} of images and masks: it has {', '.join(splits) or 'train'}")
    images, masks = places[0]
    found = sorted(path for path in images.rglob("*") if path.suffix.lower() in SUFFIXES)
    listed = folder / "classes.txt"
    lines = listed.read_text(encoding="utf-8").splitlines() if listed.is_file() else []
    return MaskFolder([(path, _mask(path, images, masks)) for path in found], tuple(line.strip() for line in lines if line.strip()))


def _mask(image: Path, images: Path, masks: Path) -> Path:
    place = masks / image.relative_to(images).parent
    for end in ENDS:
        for suffix in SUFFIXES:
            path = place / f"{image.stem}{end}{suffix}"
            if path.is_file():
                return path
    raise InputError(f"{image} has no mask: expected {place / f'{image.stem}.png'}, or with _mask, _label, _L or _gt behind its name")
