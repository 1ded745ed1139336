"""`tacit export`: what others read of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import tacit
from tacit.core.batch import Batch
from tacit.core.errors import InputError
from tacit.core.models import model_hash
from tacit.core.network import Ensemble, Network
from tacit.core.spec import Spec
from tacit.synthesize import Pool
from tacit.verbs.export import PRIVACY
from toy import BNNet, DictNet

SPEC = Spec(shape=(1, 4, 6), classes=12, names=tuple(f"class {n}" for n in range(12)))


def pool_folder(folder: Path, count: int = 30, spec: Spec = SPEC) -> Pool:
    draw = torch.Generator().manual_seed(count)
    pool = Pool(spec)
    images = torch.rand(count, *spec.shape, generator=draw)
    pool.add(Batch(images, torch.zeros(count, dtype=torch.long), torch.randn(count, spec.classes, generator=draw) * 3))
    pool.save(folder, {"teacher_sha256": "abc", "method": {"class_path": "tacit.synthesize.gaussian.Gaussian"}, "seed": 4})
    return pool


def read_back(folder: Path, tmp_path: Path) -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.load_dataset("imagefolder", data_dir=str(folder), split="train", cache_dir=str(tmp_path / "cache"))


@pytest.mark.parametrize("inside", ["pool", "."])
def test_an_image_folder_is_read_by_hugging_face_with_labels_and_probabilities(inside: str, tmp_path: Path) -> None:
    pool = pool_folder(tmp_path / "run" / inside)
    outcome = tacit.export(to="imagefolder", source=tmp_path / "run", out=tmp_path / "images")
    assert outcome.folder == tmp_path / "images"
    rows = read_back(tmp_path / "images", tmp_path)
    assert len(rows) == 30
    wanted = pool.columns["logits"].softmax(dim=1)
    for row in rows:
        pixels = np.array(row["image"].convert("L"))
        (number,) = [n for n, image in enumerate(pool.columns["images"][:, 0].numpy()) if np.array_equal(image, pixels)]
        assert row["label"] == int(wanted[number].argmax())
        assert row["class"] == f"class {row['label']}"
        assert row["probabilities"] == pytest.approx(wanted[number].tolist(), abs=1e-6)


def test_what_was_exported_can_be_loaded_as_data(tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    pool = pool_folder(tmp_path / "pool")
    tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images")
    from tacit.data import ImageSet, load_data

    found = load_data(str(tmp_path / "images"), "train", SPEC)
    assert isinstance(found, ImageSet)
    assert sorted(found.labels.tolist()) == sorted(pool.columns["logits"].argmax(dim=1).tolist())


def test_the_provenance_and_the_privacy_note_go_with_the_images(tmp_path: Path) -> None:
    pool_folder(tmp_path / "pool")
    tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images")
    about = json.loads((tmp_path / "images" / "provenance.json").read_text())
    assert (about["teacher_sha256"], about["seed"], about["images"], about["note"]) == ("abc", 4, 30, PRIVACY)
    assert about["method"]["class_path"].endswith("Gaussian")
    assert about["spec"]["shape"] == [1, 4, 6]
    assert "may resemble training data" in PRIVACY
    assert PRIVACY in (tmp_path / "images" / "README.md").read_text()


def test_colours_stay_in_their_channels(tmp_path: Path) -> None:
    pool = pool_folder(tmp_path / "pool", 3, Spec(shape=(3, 4, 6), classes=2))
    tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images")
    for line in (tmp_path / "images" / "metadata.jsonl").read_text().splitlines():
        name = json.loads(line)["file_name"]
        pixels = np.array(Image.open(tmp_path / "images" / name)).transpose(2, 0, 1)
        assert np.array_equal(pixels, pool.columns["images"][int(Path(name).stem)].numpy())


def test_a_second_export_replaces_the_first_whole(tmp_path: Path) -> None:
    pool_folder(tmp_path / "many", 30)
    pool_folder(tmp_path / "few", 8)
    tacit.export(to="imagefolder", source=tmp_path / "many", out=tmp_path / "images")
    with pytest.raises(InputError, match="exists already: replace it with `--overwrite`"):
        tacit.export(to="imagefolder", source=tmp_path / "few", out=tmp_path / "images")
    tacit.export(to="imagefolder", source=tmp_path / "few", out=tmp_path / "images", overwrite=True)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 8
    assert len(read_back(tmp_path / "images", tmp_path)) == 8


def test_overwrite_leaves_files_that_tacit_did_not_write(tmp_path: Path) -> None:
    pool_folder(tmp_path / "pool", 4)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="mine is a folder that tacit did not write: choose another"):
        tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "mine", overwrite=True)
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]
    assert (tmp_path / "mine" / "thesis.tex").read_text() == "years of work"


def test_a_pool_without_the_teachers_answers_is_refused(tmp_path: Path) -> None:
    pool = Pool(SPEC)
    pool.add(Batch(torch.rand(2, 1, 4, 6)))
    pool.save(tmp_path / "pool", {})
    with pytest.raises(InputError, match="holds no teacher's answers"):
        tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images")
    assert not (tmp_path / "images").exists()
    pool_folder(tmp_path / "other", 4)
    tacit.export(to="imagefolder", source=tmp_path / "other", out=tmp_path / "images")
    with pytest.raises(InputError, match="holds no teacher's answers"):
        tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images", overwrite=True)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 4


def test_an_export_that_was_cut_short_can_be_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool_folder(tmp_path / "pool", 4)

    def cut(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("tacit.verbs.export.save_picture", cut)
        with pytest.raises(KeyboardInterrupt):
            tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images")
    tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "images", overwrite=True)
    assert len(list((tmp_path / "images").rglob("*.png"))) == 4


def test_a_file_and_a_folder_are_not_taken_for_each_other(tmp_path: Path) -> None:
    pool_folder(tmp_path / "pool", 4)
    (tmp_path / "file").write_text("")
    tacit.export(to="imagefolder", source=tmp_path / "pool", out=tmp_path / "file", overwrite=True)
    assert (tmp_path / "file" / "README.md").is_file()
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder is a folder; give the name of a file, as .*model\.onnx"):
        tacit.export(to="onnx", model=Network(BNNet(), Spec(shape=(1, 6, 6), classes=5)), out=tmp_path / "folder")


@pytest.mark.parametrize(
    ("options", "words"),
    [({"to": "imagefolder"}, "give a run or pool folder"), ({"to": "onnx"}, "give a model folder or package.module:callable")],
)
def test_what_is_exported_must_be_given(options: dict[str, Any], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        tacit.export(out=tmp_path / "out", **options)


def test_a_folder_without_a_pool_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no pool folder, nor a run folder with one"):
        tacit.export(to="imagefolder", source=tmp_path, out=tmp_path / "images")


def session(path: Path) -> Any:
    runtime = pytest.importorskip("onnxruntime")
    options = runtime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def test_the_onnx_file_of_the_teacher_answers_as_torch_does_at_any_batch_size(teacher_folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    tacit.export(to="onnx", model=teacher_folder, out=tmp_path / "deep" / "model.onnx")
    network, run = tacit.load(teacher_folder).eval(), session(tmp_path / "deep" / "model.onnx")
    (taken,), (given,) = run.get_inputs(), run.get_outputs()
    assert (taken.name, taken.type, taken.shape[1:], given.name) == ("images", "tensor(float)", [1, 8, 8], "logits")
    for count in (1, 5):
        images = torch.rand(count, 1, 8, 8)
        (logits,) = run.run(None, {"images": images.numpy()})
        np.testing.assert_allclose(logits, network(images).detach().numpy(), rtol=1e-4, atol=1e-4)
    properties = run.get_modelmeta().custom_metadata_map
    said = json.loads(properties["tacit.spec"])
    assert Spec(**said) == network.spec
    assert properties["tacit.sha256"] == model_hash(network)


@pytest.mark.parametrize("kind", ["named", "ensemble"])
def test_named_logits_and_ensembles_are_one_graph_with_one_output(kind: str, tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    spec = Spec(shape=(1, 8, 6), classes=5, mean=(0.3,), std=(0.2,))
    if kind == "named":
        network = Network(DictNet(), Spec(shape=(1, 8, 6), classes=5, mean=(0.3,), std=(0.2,), output="logits"))
    else:
        network = Ensemble.of([Network(BNNet(), spec), Network(BNNet(), Spec(shape=(1, 8, 6), classes=5))])
    tacit.export(to="onnx", model=network, out=tmp_path / "m.onnx")
    images = torch.rand(3, 1, 8, 6)
    (logits,) = session(tmp_path / "m.onnx").run(None, {"images": images.numpy()})
    np.testing.assert_allclose(logits, network.eval()(images).detach().numpy(), rtol=1e-4, atol=1e-4)


def test_a_live_network_is_exported_without_a_change_to_it(tmp_path: Path) -> None:
    pytest.importorskip("onnx")
    pytest.importorskip("onnxscript")
    model = BNNet().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    tacit.export(to="onnx", model=Network(model, Spec(shape=(1, 6, 6), classes=5)), out=tmp_path / "m.onnx")
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert model.training
