"""Small reference networks; no architecture of yours needs to be here."""

from tacit.zoo.resnet import ResNet, resnet

__all__ = ["ResNet", "resnet"]
