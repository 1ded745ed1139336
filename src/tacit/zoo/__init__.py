"""Small reference networks; no architecture of yours needs to be here."""

from tacit.zoo.alexnet import AlexNet, alexnet, alexnet_half
from tacit.zoo.lenet import LeNet5, lenet5, lenet5_half
from tacit.zoo.mobilenet import MobileNetV2, mobilenetv2
from tacit.zoo.resnet import ResNet, resnet, resnet8, resnet18, resnet20, resnet34, resnet56
from tacit.zoo.vgg import VGG11, vgg11
from tacit.zoo.wrn import WideResNet, wrn, wrn16_1, wrn16_2, wrn40_1, wrn40_2

__all__ = [
    "VGG11",
    "AlexNet",
    "LeNet5",
    "MobileNetV2",
    "ResNet",
    "WideResNet",
    "alexnet",
    "alexnet_half",
    "lenet5",
    "lenet5_half",
    "mobilenetv2",
    "resnet",
    "resnet8",
    "resnet18",
    "resnet20",
    "resnet34",
    "resnet56",
    "vgg11",
    "wrn",
    "wrn16_1",
    "wrn16_2",
    "wrn40_1",
    "wrn40_2",
]
