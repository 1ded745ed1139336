"""Networks as the two large model libraries build them, written here since neither is installed: nothing in them knows of tacit.

`created` is one in the manner of timm, `Classifier` and `Transformer` are in the manner of Hugging Face's transformers.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass, fields
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.data import Dataset

__all__ = ["Classifier", "Created", "Transformer", "classifier", "created", "pictures", "transformer"]


class Residual(nn.Module):
    """A block in the manner of timm: ``conv_pw``, ``bn1``, ``act1``, ``conv_dw``, ..."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv_pw = nn.Conv2d(inputs, outputs, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.act1 = nn.ReLU(inplace=True)
        self.conv_dw = nn.Conv2d(outputs, outputs, 3, stride, 1, groups=outputs, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.act2 = nn.ReLU(inplace=True)
        self.drop_path = nn.Identity()
        self.skips = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        out = self.act1(self.bn1(self.conv_pw(x)))
        out = self.bn2(self.conv_dw(out))
        out = self.drop_path(out) + x if self.skips else out
        active: Tensor = self.act2(out)
        return active


class Gated(nn.Module):
    """A stage that returns a tuple: its map, and the gate that it went through."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.body = nn.Sequential(Residual(inputs, outputs, 2), Residual(outputs, outputs, 1))
        self.gate = nn.Linear(outputs, outputs)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.body(x)
        gate = torch.sigmoid(self.gate(out.mean((2, 3))))
        return out * gate[:, :, None, None], gate


class Created(nn.Module):
    """In the manner of timm: `num_classes`, `pretrained_cfg`, `forward_features`, `forward_head`, ``blocks.0.1``; a stage returns two."""

    def __init__(self, num_classes: int = 5, in_chans: int = 3, width: int = 8) -> None:
        super().__init__()
        self.num_classes, self.num_features, self.grad_checkpointing = num_classes, 4 * width, False
        self.pretrained_cfg = self.default_cfg = {
            "input_size": (in_chans, 32, 32),
            "num_classes": 1000,
            "mean": (0.485, 0.456, 0.406)[:in_chans],
            "std": (0.229, 0.224, 0.225)[:in_chans],
            "interpolation": "bicubic",
            "crop_pct": 0.875,
            "classifier": "classifier",
        }
        self.conv_stem = nn.Conv2d(in_chans, width, 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.act1 = nn.ReLU(inplace=True)
        self.blocks = nn.ModuleList(
            [
                nn.Sequential(Residual(width, width, 1), Residual(width, width, 1)),
                Gated(width, 2 * width),
                nn.Sequential(Residual(2 * width, 4 * width, 2), Residual(4 * width, 4 * width, 1)),
            ]
        )
        self.global_pool = nn.AdaptiveAvgPool2d(1)
        self.head_drop = nn.Dropout(0.1)
        self.classifier = nn.Linear(4 * width, num_classes)
        self.aux_classifier = nn.Linear(4 * width, num_classes)  # of a second training, and never called

    def get_classifier(self) -> nn.Module:
        return self.classifier

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.act1(self.bn1(self.conv_stem(x)))
        for block in self.blocks:
            made = block(x)
            x = made[0] if isinstance(made, tuple) else made
        return x

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.head_drop(self.global_pool(x).flatten(1))
        return x if pre_logits else self.classifier(x)

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


def created(model_name: str, pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Return a network by name, as ``timm.create_model`` does."""
    return Created(**{"width": 4 if model_name == "tiny" else 8, **kwargs})


class ModelOutput(OrderedDict[str, Any]):
    """What transformers' models return: a dict without what is None, with attributes, and with whole numbers for keys."""

    def __post_init__(self) -> None:
        for field in fields(self):  # type: ignore[arg-type]
            value = getattr(self, field.name)
            if value is not None:
                super().__setitem__(field.name, value)

    def __getitem__(self, key: Any) -> Any:
        return super().__getitem__(key) if isinstance(key, str) else self.to_tuple()[key]

    def to_tuple(self) -> tuple[Any, ...]:
        return tuple(super(ModelOutput, self).__getitem__(key) for key in self)


@dataclass
class EncoderOutput(ModelOutput):
    """The last map or tokens, and all of them where asked."""

    last_hidden_state: Tensor | None = None
    pooler_output: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class ClassifierOutput(ModelOutput):
    """Logits beside a loss that is None, and hidden states."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None


@dataclass
class Config:
    """The settings of a model, which it carries about."""

    num_channels: int = 3
    num_labels: int = 5
    hidden_sizes: tuple[int, ...] = (8, 12, 16)
    output_hidden_states: bool = False
    use_return_dict: bool = True


class ConvLayer(nn.Module):
    """Convolution, norm, activation."""

    def __init__(self, inputs: int, outputs: int, stride: int = 1, *, active: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)
        self.activation = nn.ReLU() if active else nn.Identity()

    def forward(self, hidden_state: Tensor) -> Tensor:
        active: Tensor = self.activation(self.normalization(self.convolution(hidden_state)))
        return active


class BasicLayer(nn.Module):
    """Two convolutions beside a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = stride == 1 and inputs == outputs
        self.shortcut = nn.Identity() if same else ConvLayer(inputs, outputs, stride, active=False)
        self.layer = nn.Sequential(ConvLayer(inputs, outputs, stride), ConvLayer(outputs, outputs, active=False))
        self.activation = nn.ReLU()

    def forward(self, hidden_state: Tensor) -> Tensor:
        active: Tensor = self.activation(self.layer(hidden_state) + self.shortcut(hidden_state))
        return active


class Stage(nn.Module):
    """Its layers are called by keyword."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList([BasicLayer(inputs, outputs, stride), BasicLayer(outputs, outputs, 1)])

    def forward(self, hidden_state: Tensor) -> Tensor:
        for layer in self.layers:
            hidden_state = layer(hidden_state=hidden_state)
        return hidden_state


class Encoder(nn.Module):
    """Stages; returns a `ModelOutput`."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        sizes = (config.hidden_sizes[0], *config.hidden_sizes)
        self.stages = nn.ModuleList(Stage(a, b, 1 + (n > 0)) for n, (a, b) in enumerate(pairwise(sizes)))

    def forward(self, hidden_state: Tensor, output_hidden_states: bool = False) -> EncoderOutput:
        hidden = [hidden_state]
        for stage in self.stages:
            hidden.append(stage(hidden_state=hidden[-1]))
        return EncoderOutput(last_hidden_state=hidden[-1], hidden_states=tuple(hidden) if output_hidden_states else None)


class Backbone(nn.Module):
    """``embedder``, ``encoder``, ``pooler``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config = config
        self.embedder = ConvLayer(config.num_channels, config.hidden_sizes[0])
        self.encoder = Encoder(config)
        self.pooler = nn.AdaptiveAvgPool2d(1)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool = False) -> EncoderOutput:
        encoded = self.encoder(self.embedder(pixel_values), output_hidden_states=output_hidden_states)
        last = encoded[0]
        return EncoderOutput(last_hidden_state=last, pooler_output=self.pooler(last), hidden_states=encoded.hidden_states)


class Classifier(nn.Module):
    """In the manner of ``ResNetForImageClassification``."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, self.num_labels = config, config.num_labels
        self.resnet = Backbone(config)
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(config.hidden_sizes[-1], config.num_labels))

    @property
    def device(self) -> torch.device:
        return next(self.parameters()).device

    def forward(
        self,
        pixel_values: Tensor | None = None,
        labels: Tensor | None = None,
        output_hidden_states: bool | None = None,
        return_dict: bool | None = None,
    ) -> Any:
        if pixel_values is None:
            raise ValueError("You have to specify pixel_values")
        wanted = self.config.output_hidden_states if output_hidden_states is None else output_hidden_states
        outputs = self.resnet(pixel_values, output_hidden_states=wanted)
        logits = self.classifier(outputs.pooler_output)
        answer = ClassifierOutput(logits=logits, hidden_states=outputs.hidden_states)
        return answer if (self.config.use_return_dict if return_dict is None else return_dict) else answer.to_tuple()


def classifier(width: int = 8, **settings: Any) -> nn.Module:
    """Return a classifier of convolutions, as ``AutoModelForImageClassification.from_config`` does."""
    return Classifier(Config(hidden_sizes=(width, 3 * width // 2, 2 * width), **settings))


class Attention(nn.Module):
    """Returns a tuple of one, as layers of transformers do where no weights are asked for."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.qkv, self.output = nn.Linear(width, 3 * width), nn.Linear(width, width)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
        query, key, value = self.qkv(hidden_states).chunk(3, dim=-1)
        return (self.output(nn.functional.scaled_dot_product_attention(query, key, value)),)


class TokenLayer(nn.Module):
    """Attention and two linear layers, each behind a layer norm."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layernorm_before, self.layernorm_after = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width)
        self.intermediate, self.output = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, hidden_states: Tensor) -> tuple[Tensor]:
        hidden = hidden_states + self.attention(self.layernorm_before(hidden_states))[0]
        return (hidden + self.output(nn.functional.gelu(self.intermediate(self.layernorm_after(hidden)))),)


class Transformer(nn.Module):
    """In the manner of ``ViTForImageClassification``: patches, a class token, layers of tokens; no batch norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.config, width = config, config.hidden_sizes[0]
        self.projection = nn.Conv2d(config.num_channels, width, 8, 8)
        self.cls_token, self.position = nn.Parameter(torch.zeros(1, 1, width)), nn.Parameter(torch.randn(1, 17, width) * 0.02)
        self.layer = nn.ModuleList(TokenLayer(width) for _ in config.hidden_sizes)
        self.layernorm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, config.num_labels)

    def forward(self, pixel_values: Tensor, output_hidden_states: bool | None = None, return_dict: bool | None = None) -> Any:
        patches = self.projection(pixel_values).flatten(2).transpose(1, 2)
        hidden = torch.cat([self.cls_token.expand(len(patches), -1, -1), patches], dim=1) + self.position
        states = [hidden]
        for layer in self.layer:
            states.append(layer(hidden_states=states[-1])[0])
        logits = self.classifier(self.layernorm(states[-1])[:, 0])
        return ClassifierOutput(logits=logits, hidden_states=tuple(states))


def transformer(width: int = 16, **settings: Any) -> nn.Module:
    """Return a classifier of tokens."""
    return Transformer(Config(hidden_sizes=(width, width), **settings))


class Pictures(Dataset[tuple[Tensor, int]]):
    """Noise of 3x32x32 with a bright bar, whose place is the class."""

    def __init__(self, split: str) -> None:
        draw = torch.Generator().manual_seed(len(split))
        self.images = torch.rand(30 if split == "train" else 15, 3, 32, 32, generator=draw) * 0.5
        for number, image in enumerate(self.images):
            image[:, number % 5 * 6 : number % 5 * 6 + 6] += 0.5

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, number: int) -> tuple[Tensor, int]:
        if number >= len(self):
            raise IndexError
        return self.images[number], number % 5


def pictures(split: str) -> Pictures:
    """Return a small labelled set."""
    return Pictures(split)
