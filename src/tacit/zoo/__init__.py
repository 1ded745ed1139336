"""Small reference networks; no architecture of yours needs to be here."""

from tacit.zoo.alexnet import AlexNet, alexnet, alexnet_half
from tacit.zoo.deeplab import DeepLab, LiteSegmenter, deeplab, lite_segmenter
from tacit.zoo.fednet import FedNet, fednet, fednet_celeba
from tacit.zoo.lenet import LeNet5, lenet5, lenet5_half
from tacit.zoo.mobilenet import MobileNetV2, mobilenetv2, mobilenetv2_half
from tacit.zoo.resnet import (
    ResNet,
    resnet,
    resnet8,
    resnet8x4,
    resnet14,
    resnet18,
    resnet20,
    resnet32,
    resnet32x4,
    resnet34,
    resnet50,
    resnet56,
    resnet110,
)
from tacit.zoo.shufflenet import ShuffleNetV1, ShuffleNetV2, shufflenetv1, shufflenetv2
from tacit.zoo.vgg import VGG, vgg8, vgg11, vgg13
from tacit.zoo.wrn import WideResNet, wrn, wrn16_1, wrn16_2, wrn40_1, wrn40_2

__all__ = [
    "VGG",
    "AlexNet",
    "DeepLab",
    "FedNet",
    "LeNet5",
    "LiteSegmenter",
    "MobileNetV2",
    "ResNet",
    "ShuffleNetV1",
    "ShuffleNetV2",
    "WideResNet",
    "alexnet",
    "alexnet_half",
    "deeplab",
    "fednet",
    "fednet_celeba",
    "lenet5",
    "lenet5_half",
    "lite_segmenter",
    "mobilenetv2",
    "mobilenetv2_half",
    "resnet",
    "resnet8",
    "resnet8x4",
    "resnet14",
    "resnet18",
    "resnet20",
    "resnet32",
    "resnet32x4",
    "resnet34",
    "resnet50",
    "resnet56",
    "resnet110",
    "shufflenetv1",
    "shufflenetv2",
    "vgg8",
    "vgg11",
    "vgg13",
    "wrn",
    "wrn16_1",
    "wrn16_2",
    "wrn40_1",
    "wrn40_2",
]
