"""The Hugging Face hub: its sets, and local folders of images or parquet files, which the same library reads."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tacit.core.errors import InputError, MissingExtraError, nearest
from tacit.core.spec import Spec
from tacit.data.images import ANY_CLASSES, ANY_NUMBER, numbers_of

if TYPE_CHECKING:
    from datasets import Dataset as HubDataset

__all__ = ["label_named", "open_hub", "open_labelled"]

MASKS = ("mask", "masks", "annotation", "annotations", "segmentation_mask", "semantic_mask", "segmentation", "label", "labels", "seg")
"""Columns in which masks are looked for."""
PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".gif", ".tif", ".tiff", ".avif")
"""Endings of the files that make a folder one of pictures."""

UNSORTED = "expected one sub-folder a class; where there is only one, its name must be that of one of the model's classes"
"""What to do about a folder of pictures whose labels can't be told."""


def open_hub(data: str, split: str | None, **options: Any) -> Any:
    """Return a split of a set of the Hugging Face hub, or of a local folder of images or parquet files, whose builder gets the options.

    Without a split, all of them are returned, by name.

    `InputError` where it can't be read.
    """
    try:
        import datasets
    except ImportError as error:
        raise MissingExtraError("datasets", "data", f"loading {data!r}") from error
    datasets.disable_progress_bars()
    data, _ = label_named(data)
    folder = Path(data)
    name, at, configuration = data.partition("@")
    if at and not (folder.is_dir() or (name and configuration)):
        raise InputError(f"data: expected a name, an @ and a configuration, as `ufldl-stanford/svhn@cropped_digits`, got {data!r}")
    try:
        return (
            datasets.load_dataset(_builder(folder), data_dir=str(folder), split=split, **options)
            if folder.is_dir()
            else datasets.load_dataset(name, configuration or None, split=split)
        )
    except InputError:
        raise
    except Exception as error:  # the library raises many kinds, and all mean: this can't be read
        lines = str(error).strip().splitlines() or [type(error).__name__]
        named = " ".join(lines[:2]) + f" Write it as `{name}@...`" if "onfig name is missing" in lines[0] else lines[0]
        raise InputError(f"can't load {data!r}, split {split!r}: {named}") from error


def open_labelled(data: str, split: str, spec: Spec | None) -> tuple[HubDataset, str, str | None]:
    """Return a set as `open_hub` does, its column of pictures, and that of their labels: None where it has none, and `spec` asks for none.

    Raises:
        InputError: Where it can't be read, or a column is missing.
    """
    found, (_, named) = open_hub(data, split), label_named(data)
    pictures = [type(feature).__name__ for feature in found.features.values()]
    if spec is not None and named is None and pictures == ["Image"]:
        found = _of_one_class(data, split, spec) or found
    try:
        image, label = _columns(found, spec) if named is None else (_column(found, "Image", ("image", "img")), named)
    except InputError as error:
        if pictures == ["Image"] and Path(data).is_dir() and _builder(Path(data)) == "imagefolder":
            raise InputError(f"{error}: {UNSORTED}") from error
        raise
    if label is not None and label not in found.features:
        raise InputError(f"the data have no column {label!r}{nearest(label, list(found.features), most=20)}")
    if label is not None and getattr(found.features[label], "dtype", None) in ("string", "large_string"):
        found = _numbered(found, label, data)
    return found, image, label


def _numbered(found: HubDataset, label: str, data: str) -> HubDataset:
    """Return the set with numbers in the place of words: those of all splits in alphabetical order, since one split may lack some."""
    from datasets import ClassLabel

    splits = open_hub(data, None)
    words: set[str | None] = set().union(*(one.unique(label) for one in splits.values() if label in one.features))
    if None in words or "" in words:
        raise InputError(f"the data have images without a {label!r}: expected a word or a number for each")
    return found.cast_column(label, ClassLabel(names=sorted(word for word in words if word)))


def label_named(data: str) -> tuple[str, str | None]:
    """Return the name of a set, and the column of its labels that stands behind a ``#``."""
    if "#" not in data or Path(data).exists():
        return data, None
    name, _, column = data.rpartition("#")
    return name, column


def _of_one_class(data: str, split: str, spec: Spec) -> HubDataset | None:
    """Return the images of a folder that has a single class, which `datasets` takes for unlabelled.

    None where its name is none of the model's, capitals aside; where any number fits, whoever asks looks at the name. None, too, where
    the pictures lie in the folder itself, whose name `datasets` would take for that of a class.
    """
    folder = Path(data)
    if not folder.is_dir() or _builder(folder) != "imagefolder":
        return None
    if any(path.suffix.lower() in PICTURES for place in (folder, folder / split) if place.is_dir() for path in place.iterdir()):
        return None
    found: HubDataset = open_hub(data, split, drop_labels=False)
    if spec.classes == ANY_NUMBER:
        return found
    try:
        numbers_of(found.features["label"].names, spec.names)
    except InputError:
        return None
    return found


def _builder(folder: Path) -> str:
    suffixes = {path.suffix.lower() for path in folder.rglob("*") if path.is_file()}
    if ".parquet" in suffixes:
        return "parquet"
    if suffixes & set(PICTURES):
        return "imagefolder"
    raise InputError(f"{folder} holds no images (PNG, JPEG, ...) and no parquet file")


def _columns(found: HubDataset, spec: Spec | None) -> tuple[str, str | None]:
    """Return which columns hold the pictures, and their class numbers or, for a model that names a class a pixel, their masks.

    No labels are needed where any class will do.
    """
    pictures = [str(name) for name, feature in found.features.items() if type(feature).__name__ == "Image"]
    numbered = any(type(feature).__name__ == "ClassLabel" for feature in found.features.values())
    dense = spec.task == "segmentation" if spec is not None and spec.classes != ANY_CLASSES else len(pictures) > 1 and not numbered
    if not dense:
        image = _column(found, "Image", ("image", "img"))
        try:
            return image, _column(found, "ClassLabel", ("label", "labels", "fine_label"))
        except InputError:
            if spec is None or spec.classes != ANY_CLASSES:
                raise
            return image, None
    mask = next((name for name in MASKS if name in found.features), pictures[1] if len(pictures) > 1 else None)
    picture = next((name for name in ("image", "img", "pixel_values", *pictures) if name in found.features and name != mask), None)
    if picture is None or mask is None:
        raise InputError(f"the data have no columns of images and masks; they have {', '.join(found.features)}")
    return picture, mask


def _column(found: HubDataset, kind: str, names: tuple[str, ...]) -> str:
    for name, feature in found.features.items():
        if type(feature).__name__ == kind:
            return str(name)
    for name in names:
        if name in found.features:
            return name
    raise InputError(f"the data have no {names[0]} column; they have {', '.join(found.features)}")
