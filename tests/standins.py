"""Stand-ins for torchvision and timm, which tests do not install: their ResNet-18, -34 and -50 and MobileNetV2, built alike and as narrow
as asked, with random weights.

`install` puts them where ``torchvision.models:resnet18`` and ``timm:create_model`` are looked for.
"""

from __future__ import annotations

import sys
from types import ModuleType

import pytest
import torch
import torchmetrics  # noqa: F401  # looks for torchvision as it is imported, and must not find a stand-in
from torch import Tensor, nn

__all__ = ["PARAMETERS", "MobileNetV2", "ResNet", "install"]

PARAMETERS = {"resnet18": 11_689_512, "resnet34": 21_797_672, "resnet50": 25_557_032, "mobilenet_v2": 3_504_872}
"""Of torchvision's networks, for 1,000 classes."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions beside a shortcut."""

    expansion = 1

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(width, width, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = shortcut(inputs, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        out += identity
        answer: Tensor = self.relu(out)
        return answer


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride) and 1x1 convolutions beside a shortcut."""

    expansion = 4

    def __init__(self, inputs: int, width: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = nn.Conv2d(width, width, 3, stride, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = nn.Conv2d(width, 4 * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU(inplace=True)
        self.downsample = shortcut(inputs, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        identity = x if self.downsample is None else self.downsample(x)
        out = self.relu(self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x))))))
        out = self.bn3(self.conv3(out))
        out += identity
        answer: Tensor = self.relu(out)
        return answer


def shortcut(inputs: int, outputs: int, stride: int) -> nn.Sequential | None:
    """Return a projection where the shape changes."""
    if stride == 1 and inputs == outputs:
        return None
    return nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))


class ResNet(nn.Module):
    """ResNet for ImageNet: a 7x7 stem, a max pool, four stages from `width` maps on."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], blocks: tuple[int, int, int, int], width: int = 64) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, 2, 1)
        inputs, stages = width, []
        for stage, count in enumerate(blocks):
            made = []
            for number in range(count):
                made.append(block(inputs, width * 2**stage, 2 if stage and not number else 1))
                inputs = width * 2**stage * block.expansion
            stages.append(nn.Sequential(*made))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.avgpool = nn.AdaptiveAvgPool2d((1, 1))
        self.fc = nn.Linear(inputs, 1000)

    def forward(self, x: Tensor) -> Tensor:
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(torch.flatten(self.avgpool(x), 1))
        return logits


def conv_bn_relu6(inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution, its norm and ReLU6."""
    convolution = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class InvertedResidual(nn.Module):
    """Wider by a 1x1 convolution, a depthwise 3x3 one, narrower again without activation."""

    def __init__(self, inputs: int, outputs: int, stride: int, expand: int) -> None:
        super().__init__()
        self.use_res_connect = stride == 1 and inputs == outputs
        hidden = inputs * expand
        wider = [conv_bn_relu6(inputs, hidden, 1)] if expand != 1 else []
        narrower = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*wider, conv_bn_relu6(hidden, hidden, 3, stride, groups=hidden), *narrower)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = x + self.conv(x) if self.use_res_connect else self.conv(x)
        return answer


class MobileNetV2(nn.Module):
    """MobileNetV2; `share` of the maps of the paper, in eights."""

    def __init__(self, share: float = 1.0) -> None:
        super().__init__()

        def maps(count: int) -> int:
            return max(8, int(count * share) // 8 * 8)

        settings = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
        inputs = maps(32)
        features: list[nn.Module] = [conv_bn_relu6(3, inputs, 3, 2)]
        for expand, outputs, count, stride in settings:
            for number in range(count):
                features.append(InvertedResidual(inputs, maps(outputs), stride if number == 0 else 1, expand))
                inputs = maps(outputs)
        features.append(conv_bn_relu6(inputs, maps(1280), 1))
        self.features = nn.Sequential(*features)
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(maps(1280), 1000))

    def forward(self, x: Tensor) -> Tensor:
        pooled = nn.functional.adaptive_avg_pool2d(self.features(x), (1, 1))
        logits: Tensor = self.classifier(torch.flatten(pooled, 1))
        return logits


def seen(model: nn.Module, size: int = 64) -> nn.Module:
    """Return a network whose batch norms have seen a few images, as those of trained ones have."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(1)
        for _ in range(3):
            model(torch.randn(8, 3, size, size))
    return model


def install(monkeypatch: pytest.MonkeyPatch, *, width: int = 8, share: float = 0.25) -> list[str]:
    """Put the stand-ins in the place of both packages; return a list that grows by what is asked of them.

    Args:
        monkeypatch: Takes them away again.
        width: Maps of a ResNet's stem, 64 in the paper.
        share: Share of MobileNetV2's maps.
    """
    asked: list[str] = []

    def resnet18(*, weights: str | None = None, progress: bool = True) -> nn.Module:
        asked.append(f"torchvision resnet18 {weights}")
        return seen(ResNet(BasicBlock, (2, 2, 2, 2), width))

    def resnet34(*, weights: str | None = None, progress: bool = True) -> nn.Module:
        asked.append(f"torchvision resnet34 {weights}")
        return seen(ResNet(BasicBlock, (3, 4, 6, 3), width))

    def mobilenet_v2(*, weights: str | None = None, progress: bool = True) -> nn.Module:
        asked.append(f"torchvision mobilenet_v2 {weights}")
        return seen(MobileNetV2(share))

    def create_model(model_name: str, pretrained: bool = False) -> nn.Module:
        asked.append(f"timm {model_name} {pretrained}")
        return seen(ResNet(Bottleneck, (3, 4, 6, 3), width))

    models, timm = ModuleType("torchvision.models"), ModuleType("timm")
    models.__dict__.update(resnet18=resnet18, resnet34=resnet34, mobilenet_v2=mobilenet_v2)
    timm.__dict__.update(create_model=create_model)
    for package in (ModuleType("torchvision"), models, timm):
        monkeypatch.setitem(sys.modules, package.__name__, package)
    return asked
