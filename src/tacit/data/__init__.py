"""Data: embedded digits, Hugging Face sets, folders, any torch Dataset."""

from tacit.data.images import Augmentation, ImageSet, augment
from tacit.data.load import Data, StreamedSet, digits, has_splits, load_data

__all__ = ["Augmentation", "Data", "ImageSet", "StreamedSet", "augment", "digits", "has_splits", "load_data"]
