"""torchao's package: machine code that answers nearly as the network; its compiler takes long."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tacit.core.errors import InputError
from tacit.core.network import Network
from tacit.core.spec import Spec
from tacit.data import digits
from tacit.quantize import Scheme, write


class Small(nn.Module):
    """Compiled in seconds."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 8, 3, 2)
        self.norm = nn.BatchNorm2d(8)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 10)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.pool(F.relu(self.norm(self.conv(x)))).flatten(1))
        return logits


def small() -> Network:
    torch.manual_seed(0)
    return Network(Small().eval(), Spec(shape=(1, 8, 8), classes=10, mean=(0.3,), std=(0.4,)))


PACKAGE = """
import sys, json, torch
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_torch_package import small
from tacit.core.enginefile import open_session
from tacit.core.models import load
from tacit.data import digits
from tacit.quantize import Scheme, write
here, network = Path(sys.argv[2]), small()
files = write(network, digits("train").images[:64], here, here, Scheme(activation_ranges="minmax"), engine="torchao")
shown = digits("test").images[:50].float().div(255)
with torch.inference_mode():
    wanted, whole, quantized = network(shown), load(files.whole)(shown), load(files.small)(shown)
said = json.loads(open_session(files.small).metadata["tacit.spec"])
print(json.dumps([float((wanted - one).abs().max()) for one in (whole, quantized)] + said["mean"]))
"""


def test_a_package_of_torch_answers_nearly_as_the_network(tmp_path: Path) -> None:
    """In a process of its own, as a user's command is: late in a long process that had OpenVINO in it, the compiled code crashed."""
    words = [sys.executable, "-c", PACKAGE, str(Path(__file__).parent), str(tmp_path)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    whole, quantized, mean = json.loads(done.stdout.splitlines()[-1])
    assert whole < 0.02, "its weights are clipped"
    assert 1e-6 < quantized < 0.02
    assert mean == 0.3


def test_a_package_that_computes_something_else_is_not_handed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tacit.quantize.torchao._compile", lambda program, out, notes: out.write_bytes(b""))
    monkeypatch.setattr("tacit.quantize.torchao._difference", lambda *_: 0.5)
    with pytest.raises(InputError, match=r"computes something else \(logits differ by 50% of their range\).*use another engine"):
        write(small(), digits("train").images[:32], tmp_path, tmp_path, Scheme(), engine="torchao")
    assert not (tmp_path / "model.pt2").exists()
