"""Data: embedded digits, rendered solids, Hugging Face sets, folders, any torch Dataset; and what a network sees of them."""

from tacit.data.images import ANY_CLASSES, Augmentation, ImageSet, any_classes, augment
from tacit.data.load import Data, StreamedSet, digits, has_splits, load_data, local_folder
from tacit.data.modalities import Modality, Views, find_modality, find_views, seen
from tacit.data.rendered import solids, street, textures

__all__ = [
    "ANY_CLASSES",
    "Augmentation",
    "Data",
    "ImageSet",
    "Modality",
    "StreamedSet",
    "Views",
    "any_classes",
    "augment",
    "digits",
    "find_modality",
    "find_views",
    "has_splits",
    "load_data",
    "local_folder",
    "seen",
    "solids",
    "street",
    "textures",
]
