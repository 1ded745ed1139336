"""`tacit federate`: many clients, one model, and no data that leave their place; tried on one machine."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from tacit.core.device import Clock
from tacit.core.errors import InputError
from tacit.core.files import write_file
from tacit.core.models import save
from tacit.core.network import count_parameters
from tacit.core.progress import Progress
from tacit.core.run import Run
from tacit.distill.advice import Advice
from tacit.federate import Algorithm, Dirichlet, FedAvg, FedGen, Local, Partition, Plan, Round, Rounds, Rules, Server
from tacit.report.holdings import holdings
from tacit.report.words import size
from tacit.verbs.base import DataLike, ModelLike, Outcome, RunVerb, as_function, data_option, model_option
from tacit.verbs.consortium import ENGINES, Carrier, Consortium, alone, consortium
from tacit.verbs.flowerapp import export_app
from tacit.verbs.story import Story

__all__ = ["Federate", "federate"]

BOTH: tuple[Algorithm, ...] = (FedAvg(), FedGen())
"""What is run, one after the other, where no algorithm is named."""


@dataclass(frozen=True, kw_only=True)
class Federate(RunVerb):
    """Train a network with many clients whose data differ and stay where they are; without an algorithm, FedAvg and FedGen side by side."""

    algorithm: Algorithm | None = None
    """What is sent, learned and put together; not given: FedAvg, and then FedGen on the same split."""
    data: DataLike | None = data_option()
    """Images that are dealt to the clients: digits, a Hugging Face id, a folder, or package.module:callable; not given: digits."""
    split: str = "train"
    """Split of `data` that is dealt."""
    eval_split: str | None = "test"
    """Split of `data` on which the global model is tested; null: none. It steers nothing."""
    partition: Partition | None = None
    """How the images are dealt; not given: Dirichlet with alpha 0.1."""
    clients: int = 10
    """How many clients there are."""
    active: int | None = None
    """Clients that take part in a round, drawn anew each time; not given: half of them or, where there is one round alone, all."""
    rounds: int = 40
    """Rounds."""
    local_steps: int | None = None
    """Optimisation steps of a client in a round; not given: 20, or, of one-shot algorithms, 400."""
    batch: int = Local.batch
    """Images in a step of a client."""
    lr: float = Local.lr
    """Clients' learning rate in the first round (SGD). FedGen's comparison has 0.01, where FedAvg is far from its best."""
    lr_decay: float = Local.decay
    """What it is multiplied by after each round."""
    momentum: float = Local.momentum
    """Clients' momentum; it starts anew each round."""
    weight_decay: float = Local.weight_decay
    """Clients' weight decay."""
    held: float = 0.1
    """Share of its images that each client sets aside to test itself on."""
    model: ModelLike | None = model_option()
    """The network; several are given to the clients in turn. Not given: tacit.zoo:fednet, for square images."""
    engine: Literal["in-process", "simulation"] = "in-process"
    """Who carries messages: all clients in this process, or Flower's simulation."""
    export_app: Path | None = None
    """Write a Flower app for real sites to this folder, with its commands, and run nothing."""
    evaluate_every: int = 1
    """Rounds between two tests; 0: only after the last."""
    targets: tuple[float, ...] = (0.85, 0.9)
    """Accuracies of which is told in which round they were first reached."""
    rules: Rules = field(default_factory=Rules)
    """When a round counts, and when the federation gives up."""

    name: ClassVar[str] = "federate"
    free: ClassVar[tuple[str, ...]] = ("rounds", "rules")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.clients < 1:
            raise InputError(f"clients: expected at least 1, got {self.clients}")
        if self.engine not in ENGINES:
            raise InputError(f"engine: expected {' or '.join(ENGINES)}, got {self.engine!r}")
        object.__setattr__(self, "targets", tuple(float(target) for target in self.targets))
        if not all(0 < target < 1 for target in self.targets):
            raise InputError(f"targets: expected shares between 0 and 1, as [0.85, 0.9], got {list(self.targets)}")
        self._local(self.algorithm or BOTH[0])
        self._rounds(self.algorithm or BOTH[0])

    def config(self) -> dict[str, Any]:
        return {name: value for name, value in super().config().items() if name != "export_app"}

    def run(self) -> Outcome:
        """Run one algorithm, or both; return the run folder and the global model, where there is one."""
        if self.export_app is not None:
            return export_app(self, Path(self.export_app))
        return self._run_both() if self.algorithm is None else self.over(self.gather, ENGINES[self.engine])

    def _local(self, algorithm: Algorithm) -> Local:
        steps = algorithm.local_steps if self.local_steps is None else self.local_steps
        return Local(steps=steps, batch=self.batch, lr=self.lr, decay=self.lr_decay, momentum=self.momentum, weight_decay=self.weight_decay)

    def _rounds(self, algorithm: Algorithm) -> Rounds:
        usual = self.clients if algorithm.rounds == 1 else -(-self.clients // 2)
        return Rounds(rounds=self.rounds, active=usual if self.active is None else self.active, every=self.evaluate_every)

    def gather(self) -> Consortium:
        """Return who takes part in a trial, with what: networks, the images of each client, the test set."""
        return consortium(
            model=self.model,
            data="digits" if self.data is None else self.data,
            split=self.split,
            eval_split=self.eval_split,
            partition=self.partition or Dirichlet(),
            clients=self.clients,
            held=self.held,
            seed=self.seed,
            start=self.open_runtime,
        )

    def party(self, data: DataLike | None = None) -> Consortium:
        """Return what one party of a real federation has: a site with `data` of its own, or, without, the server with the test set."""
        return alone(
            model=self.model,
            data=data,
            split=self.split,
            test=self.data,
            eval_split=self.eval_split,
            held=self.held,
            seed=self.seed,
            start=self.open_runtime,
        )

    def plan(self, found: Consortium) -> Plan:
        """Return what both sides of this federation are built from."""
        algorithm = self.algorithm
        if algorithm is None:
            raise InputError("algorithm: name one, as `--algorithm FedGen`")
        local, rounds = self._local(algorithm), self._rounds(algorithm)
        return Plan(found.networks, algorithm, local, rounds, self.clients, self.rules, self.seed, found.runtime)

    def over(self, gather: Callable[[], Consortium], carrier: Carrier) -> Outcome:
        """Run the federation of the parties that `gather` finds, over the engine that `carrier` makes."""
        run = self.plan_run()
        found = gather()
        plan = self.plan(found)
        server = plan.server(carrier(plan, found.sites, run.folder), found.test)
        state = self.open_run(run, found.runtime)
        story = Story(self.targets)
        if state is not None:
            server.load_state_dict(state["server"])
            server.central.clock.seconds = dict(state["seconds"])
            story.load_state_dict(state["story"])
        if found.counts:
            write_file(run.folder / "clients.png", holdings(found.counts, found.class_names, found.client_names))
        with (
            contextlib.closing(server.engine),
            Progress(f"federate {server.algorithm.name}", server.rounds.rounds, "rounds", done=server.central.round) as progress,
        ):

            def note(done: Round) -> None:
                story.note(done)
                story.log(run, done, server.central.clock)
                run.checkpoint(
                    done.number, {"server": server.state_dict(), "seconds": server.central.clock.seconds, "story": story.state_dict()}
                )
                progress.update(done.number, story.shown(done), final=done.number == server.rounds.rounds)

            server.run(note)
        return self._finish(run, server, found, story)

    def _finish(self, run: Run, server: Server, found: Consortium, story: Story) -> Outcome:
        algorithm, central = server.algorithm, server.central
        judged = algorithm.judged(central)
        if judged is not None:
            save(central.network, run.folder / "model")
        models, beside = run.folder / "models", algorithm.beside(central)
        others = {name: one for name, one in beside.items() if any(one is network for network in central.networks[1:])}
        for name, network in others.items():
            save(network, models / name.replace(" ", "-"))
        for number, network in () if judged is not None else server.engine.models(server.downloads(sorted(central.kinds))):
            save(network, models / f"client-{number}")
        metrics: dict[str, Any] = {
            **story.metrics(),
            "algorithm": algorithm.name,
            "params_student": count_parameters(central.network),
            "class_names": found.class_names,
            **({"client_counts": found.counts} if found.counts else {}),
            **({"client_names": list(found.client_names)} if found.client_names else {}),
            "evaluation_images": len(found.test) if found.test is not None else None,
            "steps": central.local.steps * central.round,
        }
        advice = Advice(quiet=not found.runtime.main)
        advice.give(story.faults(central.network.spec.classes))
        metrics["warnings"] = advice.texts
        made = story.total.get("images_made", 0.0)
        result = self.result(found.runtime, central.clock, metrics, images=int(made), selection="last")
        run.finish(result)
        what = algorithm.tested if judged is not None else "mean of the clients' own models"
        saved = "".join(f" ({name})" for name, network in beside.items() if network is central.network)
        saved += "".join(f", {models / name.replace(' ', '-')}" for name in others)
        stored = f"{run.folder / 'model'}{saved}" if judged is not None else f"{models}, one for each client" if models.is_dir() else None
        rows = _rows(result, run.folder, what, stored)
        return Outcome(folder=run.folder, result=result, rows=rows, network=judged and central.network)

    def _run_both(self) -> Outcome:
        run = self.plan_run()
        found = (first := replace(self, algorithm=BOTH[0])).gather()
        ENGINES[self.engine](first.plan(found), found.sites, run.folder).close()  # what is wrong is said before there is a folder
        run.open(resume=self.resume, overwrite=self.overwrite)
        outcomes: list[Outcome] = []
        for number, algorithm in enumerate(BOTH, start=1):
            print(f"{number}/{len(BOTH)} {algorithm.name}", file=sys.stderr, flush=True)
            one = replace(self, algorithm=algorithm, out=run.folder / algorithm.name, resume=True, overwrite=False)
            outcomes.append(one.run())
        clock = Clock()
        for outcome in outcomes:
            for kind in Clock.KINDS:
                clock.seconds[kind] += outcome.result["seconds"][kind]
        last = outcomes[-1]
        write_file(run.folder / "clients.png", (run.folder / BOTH[-1].name / "clients.png").read_bytes())
        beside = [{"name": one.metrics["algorithm"], "student_accuracy": one.metrics["student_accuracy"]} for one in outcomes[:-1]]
        metrics = {**last.metrics, "baselines": beside}
        result = {**last.result, "seconds": clock.report(), "metrics": metrics}
        run.finish(result)
        rows = [(one.metrics["algorithm"], one.rows[0][1]) for one in outcomes]
        rows += [("seconds", f"{clock.report()['total']:.1f}"), ("runs", ", ".join(str(one.folder) for one in outcomes))]
        return Outcome(folder=run.folder, result=result, rows=[*rows, ("curves", f"tacit report {run.folder}")], network=last.network)


def _rows(result: dict[str, Any], folder: Path, what: str, stored: str | None) -> list[tuple[str, str]]:
    """Return the table: `what` has the accuracy, and `stored` says where the model is; None: there is none."""
    metrics = result["metrics"]
    accuracy, images = metrics["student_accuracy"], metrics["evaluation_images"]
    why = "no test split" if images is None else "no global model, which alone can be tested here"
    tested = f"{accuracy:.2%} of {images:,} images, last round ({what})" if accuracy is not None else f"not measured ({why})"
    rows = [("accuracy", tested), *((f"  {name}", f"{value:.2%}") for name, value in (metrics["beside"] or {}).items())]
    if metrics["client_accuracy_mean"] is not None:
        rows.append(("on clients' own images", f"{metrics['client_accuracy_mean']:.2%}, mean of {len(metrics['client_accuracy'])}"))
    reached = {target: first for target, first in metrics["rounds_to"].items() if first is not None}
    return [
        *rows,
        *((f"{float(target):.0%} reached", f"in round {first}") for target, first in reached.items()),
        ("answers dropped", f"{metrics['dropped']:,}, for reasons in metrics.jsonl") if metrics["dropped"] else ("answers dropped", "none"),
        ("sent", f"{size(metrics['bytes_down'])} down, {size(metrics['bytes_up'])} up, in {metrics['rounds']} rounds"),
        ("sent for tests", f"{size(metrics['bytes_tests'])}, both ways, beside that"),
        ("parameters", f"{metrics['params_student']:,}"),
        ("seconds", f"{result['seconds']['total']:.1f}"),
        *([("who holds what", str(folder / "clients.png"))] if "client_counts" in metrics else []),
        ("model", stored or "none here: each site has its own, in the folder `model` of its state"),
    ]


federate = as_function(Federate)
