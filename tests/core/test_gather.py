"""What processes have, put together: with one process it is what was given, with two the rows of both, the same in each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import torch

from tacit.core.gather import average_gradients, gather, share, whole_moments
from tacit.core.probe import BNStat

WORKER = """
import sys, torch
from torch import distributed
from tacit.core.gather import gather

rank, file, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
distributed.init_process_group("gloo", init_method=f"file://{file}", rank=rank, world_size=2)
torch.save(gather(torch.full((2, 3), float(rank))), out)
distributed.destroy_process_group()
"""


def test_alone_it_is_what_was_given() -> None:
    mine = torch.rand(3, 2)
    assert gather(mine) is mine
    parameter = torch.nn.Parameter(torch.zeros(2))
    parameter.grad = torch.tensor([1.0, 2.0])
    average_gradients([parameter, torch.nn.Parameter(torch.zeros(1))])
    assert parameter.grad.tolist() == [1.0, 2.0]
    model = torch.nn.Linear(2, 1)
    before = model.weight.tolist()
    share(model)
    assert model.weight.tolist() == before
    stat = BNStat("bn", mine[0], mine[1], mine[0], mine[1])
    assert whole_moments([stat]) == (stat,)


def test_two_processes_have_the_rows_of_both(tmp_path: Path) -> None:
    files = [str(tmp_path / f"{rank}.pt") for rank in (0, 1)]
    workers = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), str(tmp_path / "store"), file]) for rank, file in enumerate(files)
    ]
    assert [worker.wait(timeout=120) for worker in workers] == [0, 0]
    wanted = torch.tensor([[0.0] * 3] * 2 + [[1.0] * 3] * 2)
    assert all(torch.equal(torch.load(file, weights_only=True), wanted) for file in files)
