"""What the README and the guide show is run as it stands there."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch

import tacit
from tacit.cli import main
from tacit.zoo import resnet

ROOT = Path(__file__).parents[1]


def python_block(file: str) -> str:
    found = re.search(r"```python\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)
    assert found is not None
    return found[1]


def test_the_method_of_the_guide_can_be_used_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_folder: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "mymethod.py").write_text(python_block("docs/own-method.md"))
    words = ["--teacher", str(teacher_folder), "--method", "mymethod.BrightInversion", "--method.bright", "0.5", "--method.steps", "2"]
    assert main(["synthesize", *words, "--method.batch", "8", "--images", "8", "--out", "run"]) == 0
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert {"loss/ce", "loss/bn", "loss/bright"} <= lines[0].keys()
    assert "bright: 0.5" in (tmp_path / "run" / "config.yaml").read_text()


def test_the_five_lines_of_the_readme_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    code = python_block("README.md").replace('out="runs/small")', 'out="runs/small", training=short, source="Gaussian")')
    names = {"my_trained_model": resnet(width=4), "my_small_model": resnet(width=2), "short": tacit.Training(steps=2, batch=8)}
    exec(compile(code, "README.md", "exec"), names)
    assert (tmp_path / "runs" / "small" / "report.html").is_file()
    assert (tmp_path / "runs" / "small" / "result.json").is_file()


@pytest.mark.parametrize("file", ["README.md", "CONTRIBUTING.md", *(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))])
def test_links_to_files_of_this_repository_lead_somewhere(file: str) -> None:
    text = (ROOT / file).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert ((ROOT / file).parent / link).exists(), link
