"""Networks in the manner of timm and of transformers, as they are: teachers and students, from `inspect` to a model that is read again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import tacit
from foreign import Classifier, Created, classifier, created, transformer
from tacit.core.errors import InputError
from tacit.core.models import ModelRef
from tacit.core.network import Network
from tacit.verbs.inspect import taps

REFS: dict[str, dict[str, Any]] = {
    "timm": {"path": "foreign:created", "kwargs": {"model_name": "tiny"}},
    "resnet": {"path": "foreign:classifier", "kwargs": {"width": 4}, "shape": (3, 32, 32), "classes": 5, "output": "logits"},
    "tuple": {
        "path": "foreign:classifier",
        "kwargs": {"width": 4, "use_return_dict": False, "output_hidden_states": True},
        "shape": (3, 32, 32),
        "classes": 5,
        "output": "0",
    },
    "vit": {"path": "foreign:transformer", "kwargs": {}, "shape": (3, 32, 32), "classes": 5, "output": "logits"},
}
OBJECTIVE = [
    {"loss": "ce"},
    {"loss": "kd"},
    {"loss": "at", "weight": 100.0},
    {"loss": "crd", "weight": 0.8, "width": 8, "negatives": 16},
    {"loss": "reviewkd", "width": 8},
]


def ref(name: str) -> ModelRef:
    return ModelRef(**REFS[name])


def network(name: str) -> Network:
    return ref(name).load(seed=0)


def distilled(teacher: Any, student: Any, folder: Path, objective: Any, **options: Any) -> tacit.Outcome:
    short = tacit.Training(steps=3, batch=10, lr=0.01)
    return tacit.distill(
        teacher=teacher,
        student=student,
        source="data",
        data="foreign:pictures",
        objective=objective,
        training=short,
        out=folder,
        **{"evaluations": 0, "log_every": 1, "device": "cpu", "precision": "32-true", **options},
    )


@pytest.mark.parametrize(("teacher", "student"), [("timm", "resnet"), ("resnet", "timm"), ("vit", "tuple"), ("tuple", "vit")])
def test_a_student_learns_is_measured_and_comes_back_from_its_folder(teacher: str, student: str, tmp_path: Path) -> None:
    shown = tacit.inspect(teacher=ref(teacher), student=ref(student), steps=2).result["matched"]
    maps = 1 if "vit" in (teacher, student) else 3  # the tokens of its last layer
    assert len(shown) == maps + 1
    assert all(len(side["shape"]) == 3 for pair in shown[:-1] for side in pair.values())
    outcome = distilled(ref(teacher), ref(student), tmp_path / "run", OBJECTIVE)
    assert outcome.metrics["evaluation_images"] == 15
    again = tacit.load(tmp_path / "run")
    images = torch.rand(4, 3, 32, 32)
    assert outcome.network is not None
    assert again.spec.output == REFS[student].get("output")
    torch.testing.assert_close(again.eval()(images), outcome.network.eval()(images))
    tap = {"timm": "blocks.1:1", "resnet": "resnet.encoder", "tuple": "resnet:hidden_states.1", "vit": "layer.0"}[student]
    found = tacit.evaluate(
        teacher=ref(teacher), student=str(tmp_path / "run"), data="foreign:pictures", device="cpu", precision="32-true"
    ).metrics
    assert found["student_accuracy"] == outcome.metrics["student_accuracy"]
    probed = tacit.evaluate(student=str(tmp_path / "run"), probe="foreign:pictures", tap=tap, device="cpu").metrics["probe"]["student"]
    assert probed["features"] == {"timm": 8, "resnet": 8, "tuple": 4, "vit": 17 * 16}[student]


def test_a_model_of_timm_says_itself_what_it_expects() -> None:
    spec = network("timm").spec
    assert (spec.shape, spec.classes) == ((3, 32, 32), 5)
    assert (spec.mean, spec.std, spec.crop) == ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), 0.875)
    other = ModelRef(path="foreign:created", kwargs={"model_name": "tiny", "in_chans": 1}, shape=(1, 16, 16), classes=5).load().spec
    assert (other.shape, other.mean, other.std) == ((1, 16, 16), (0.485,), (0.229,))
    given = ModelRef(path="foreign:created", kwargs={"model_name": "tiny"}, mean=(0.5, 0.5, 0.5), crop=1.0).load().spec
    assert (given.mean, given.std, given.crop) == ((0.5, 0.5, 0.5), (0.229, 0.224, 0.225), 1.0)
    student = ref("timm").load(tacit.Spec(shape=(3, 32, 32), classes=5, mean=(0.1, 0.2, 0.3)))
    assert student.spec.mean == (0.1, 0.2, 0.3)


def test_what_a_model_says_of_itself_is_left_out_where_it_is_of_other_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Created.__init__

    def grey(self: Created, *args: Any, **kwargs: Any) -> None:
        whole(self, *args, **kwargs)
        self.pretrained_cfg = {"mean": (0.4, 0.4, 0.4), "std": (0.2, 0.2, 0.2), "input_size": (3, 224, 224)}

    monkeypatch.setattr(Created, "__init__", grey)
    spec = ModelRef(path="foreign:created", kwargs={"model_name": "tiny", "in_chans": 1}, shape=(1, 32, 32)).load().spec
    assert (spec.shape, spec.classes, spec.mean) == ((1, 32, 32), 5, (0.0,))


def test_inspect_shows_parts_by_the_names_that_taps_have() -> None:
    shown = taps(network("timm"))
    assert (shown["blocks.0"], shown["blocks.1:0"], shown["blocks.1:1"]) == ([4, 16, 16], [8, 8, 8], [8])
    assert taps(network("vit"))["layer.0"] == [17, 16]
    assert "resnet:hidden_states.3" in taps(network("tuple"))


NAMED: list[tuple[str, str, list[dict[str, Any]]]] = [
    ("timm", "resnet", [{"loss": "at", "teacher": ["blocks.1:0"], "student": ["resnet.encoder.stages.1"]}]),
    ("tuple", "timm", [{"loss": "at", "teacher": ["resnet:hidden_states.2"], "student": ["blocks.1:0"]}]),
    ("tuple", "timm", [{"loss": "crd", "teacher": ["resnet:last_hidden_state"], "student": ["blocks.1:1"], "width": 4}]),
    ("vit", "vit", [{"loss": "intermediate", "teacher": ["layer.0", "layer.1:0"], "student": ["layer.0", "layer.1:0"]}]),
]


@pytest.mark.parametrize(("teacher", "student", "terms"), NAMED)
def test_parts_of_what_layers_return_can_be_named(teacher: str, student: str, terms: list[dict[str, Any]], tmp_path: Path) -> None:
    outcome = distilled(network(teacher), network(student), tmp_path / "run", [{"loss": "ce"}, *terms])
    assert (tmp_path / "run" / "metrics.jsonl").read_text().count(f"loss/{terms[0]['loss']}") == 3
    assert outcome.metrics["student_accuracy"] is not None


@pytest.mark.parametrize("make", [lambda: created("tiny"), lambda: classifier(4), transformer])
def test_nothing_in_them_is_changed(make: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = make().eval(), torch.rand(2, 3, 32, 32)
    names = sorted(vars(model))
    before, weights = model(images), {key: value.clone() for key, value in model.state_dict().items()}
    output = None if isinstance(model, Created) else "logits"
    teacher = Network(model, tacit.Spec(shape=(3, 32, 32), classes=5, output=output))
    distilled(teacher, network("timm"), tmp_path / "run", "ce=1,kd=1,at=10")
    after = model(images)
    one, two = (answer if output is None else answer.logits for answer in (before, after))
    assert torch.equal(one, two)
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())
    assert sorted(vars(model)) == names
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize(
    ("terms", "words"),
    [
        (
            [{"loss": "at", "teacher": ["blocks.1"], "student": ["embedder"]}],
            "tap 'blocks.1': .* a tuple of 2: say which part, as blocks.1:0 or",
        ),
        ([{"loss": "at", "teacher": ["blocks.1:2"], "student": ["resnet.embedder"]}], "tap 'blocks.1:2': this module returns a tuple of 2"),
        ([{"loss": "at", "teacher": ["blocks.1:0"], "student": ["resnet.embeder"]}], "no module is called 'resnet.embeder'; did you mean"),
        (
            [{"loss": "at", "teacher": ["aux_classifier"], "student": ["resnet.embedder"]}],
            "tap 'aux_classifier': the module is never called",
        ),
    ],
)
def test_what_can_not_be_used_is_said(terms: list[dict[str, Any]], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        distilled(network("timm"), network("resnet"), tmp_path / "run", terms)


def test_a_model_that_returns_an_object_says_what_is_in_it() -> None:
    with pytest.raises(InputError, match=r"Classifier returns a dict with the keys \['logits'\]: say which .* `output`"):
        ModelRef(path="foreign:classifier", shape=(3, 32, 32), classes=5).load()


def test_feature_losses_refuse_networks_without_maps(tmp_path: Path) -> None:
    flat = Network(nn.Sequential(nn.Flatten(), nn.Linear(3072, 5)), tacit.Spec(shape=(3, 32, 32), classes=5))
    with pytest.raises(InputError, match=r"Sequential has no feature maps of shape \(N, C, H, W\)"):
        distilled(network("vit"), flat, tmp_path / "run", "at=1")
    assert isinstance(network("resnet").model, Classifier)
