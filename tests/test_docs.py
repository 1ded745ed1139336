"""What the README and the guide show: Python is run as it stands there, and every command is one that is understood."""

from __future__ import annotations

import inspect
import json
import re
import shlex
import shutil
import tomllib
from pathlib import Path
from statistics import mean, stdev
from typing import Any

import pytest
import torch
import yaml
from docstring_parser import parse_from_object

import tacit
from benchmarks.__main__ import parser as benchmarks_parser
from tacit import zoo
from tacit.cli import main
from tacit.command import parse
from tacit.core.errors import InputError
from tacit.core.models import import_object
from tacit.core.network import Ensemble, count_parameters
from tacit.distill.objectives import DISTILLERS, build_phases
from tacit.federate.flower.certificates import build_parser as certificates_parser
from tacit.synthesize import METHODS
from tacit.verbs import VERBS
from tacit.zoo import resnet
from toy import DictNet, QuarterNet

ROOT = Path(__file__).parents[1]
PAGES = ["README.md", "CONTRIBUTING.md", *sorted(str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md"))]
RUN_HERE = {"README.md", "docs/cross-modal.md", "docs/own-method.md", "docs/own-model.md", "docs/segmentation.md", "docs/quantize.md"}
"""Pages with one block of Python each, which a test below runs."""


def blocks(file: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / file).read_text(), re.DOTALL)


def python_block(file: str) -> str:
    (found,) = blocks(file, "python")
    return found


def options_of_losses() -> str:
    """Return the table of all options but taps, of the losses' own signatures and docstrings."""
    rows = ["| loss | option | default | what it is |", "|---|---|---|---|"]
    for name, kind in DISTILLERS.items():
        said = {each.arg_name: " ".join((each.description or "").split()) for each in parse_from_object(kind).params}
        for option, parameter in inspect.signature(kind).parameters.items():
            if option in ("teacher", "student") or parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
                continue
            default = "" if parameter.default is None else f"`{json.dumps(parameter.default)}`".replace('"', "")
            rows.append(f"| `{name}` | `{option}` | {default} | {said[option].replace('``', '`')} |")
    return "\n".join(rows)


def test_the_guide_has_every_option_of_every_loss_as_the_loss_says_it() -> None:
    table = options_of_losses()
    assert "| `dkd` | `beta` | `8.0` | Weight of what is said of the others. |" in table
    assert "| `kd` | `average` | `logits` | " in table
    assert f"\n\n{table}\n" in (ROOT / "docs" / "distillers.md").read_text(), f"docs/distillers.md: expected this table:\n{table}"


def test_the_objectives_of_the_guide_can_be_made_and_its_taps_of_an_ensemble_are_found() -> None:
    made = [build_phases(yaml.safe_load(block)["objective"]) for block in blocks("docs/distillers.md", "yaml")]
    assert [[phase.name for phase in phases] for phases in made] == [["ce+crd+kd"], ["ce+kd+sharp"], ["ce+at"], ["ab", "kd+ce"]]
    spec = tacit.Spec(shape=(3, 16, 16), classes=4)
    teachers = Ensemble.of([tacit.Network(resnet(8, classes=4, width=width), spec) for width in (2, 3)])
    made[2][0].objective.fit(teachers, tacit.Network(resnet(8, classes=4, width=2), spec))
    at = made[2][0].objective.losses["at"]
    assert at.teams == [range(1), range(1, 2)]


def test_no_block_of_python_is_left_out() -> None:
    assert {file for file in PAGES if blocks(file, "python")} == RUN_HERE


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


def test_a_model_of_ones_own_that_answers_with_a_dict_is_inspected(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.manual_seed(0)
    *lines, last = python_block("docs/own-model.md").splitlines()
    names: dict[str, Any] = {"tacit": tacit, "model": DictNet(channels=3)}
    exec(compile("\n".join(lines), "own-model.md", "exec"), names)
    assert names["network"].spec.shape == (3, 48, 40)
    assert eval(last, names) in {kind.__name__ for kind in METHODS}


def test_the_views_of_the_guide_teach_a_student_by_import_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "myviews.py").write_text(python_block("docs/cross-modal.md"))
    halves = tacit.Spec(shape=(1, 8, 4), classes=10)
    teacher, student = (tacit.Network(resnet(channels=1, width=2), halves) for _ in range(2))
    short = tacit.Training(steps=2, batch=16)
    outcome = tacit.distill(
        teacher=teacher, student=student, source="data", data="digits", views="myviews:sides", training=short, out=Path("run")
    )
    assert outcome.metrics["evaluation_images"] == 540


def test_a_segmentation_network_of_ones_own_is_measured() -> None:
    torch.manual_seed(0)
    names: dict[str, Any] = {"tacit": tacit, "model": QuarterNet(classes=11)}
    exec(compile(python_block("docs/segmentation.md"), "segmentation.md", "exec"), names)
    assert 0 < names["miou"] < 0.3


def test_the_table_of_segmentation_networks_has_their_parameters() -> None:
    text = (ROOT / "docs" / "segmentation.md").read_text(encoding="utf-8")
    rows = {name: int(count.replace(",", "")) for name, count in re.findall(r"^\| `(\w+)` \| ([\d,]+) \|", text, re.MULTILINE)}
    assert rows == {name: count_parameters(getattr(zoo, name)()) for name in ("deeplab", "lite_segmenter")}


def test_an_int8_file_answers_where_there_is_no_torch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, teacher_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["quantize", "--model", str(teacher_folder), "--source", "Gaussian", "--images", "64", "--acceptance", "16"]) == 0
    capsys.readouterr()
    code = python_block("docs/quantize.md")
    assert "torch" not in code
    exec(compile(code, "quantize.md", "exec"), {})
    black = tacit.load("runs/quantize/model.onnx")(torch.zeros(1, 1, 8, 8))
    assert capsys.readouterr().out == f"[{int(black.argmax())}]\n"


BEST = ""
"""In place of a row: the one, of those that see no real image and have the most seeds, that the mean accuracy puts first."""

MEASURED = {
    "MNIST, ResNet-8,": ("data_free/mnist/resnet8", ("kd-real", BEST, "noise"), "accuracy"),
    "MNIST, LeNet-5": ("data_free/mnist/lenet5", ("kd-real-2-x", BEST, "noise-2-x"), "accuracy"),
    "CIFAR-10, ResNet-20 to ResNet-8,": ("data_free/cifar10-cpu/resnet20-resnet8", ("kd-real", BEST, "noise"), "accuracy"),
    "CIFAR-10, ResNet-20 as int8": ("compression/w8a8/resnet20", ("real", "BNS", "G"), "accuracy"),
    "CIFAR-10, ResNet-20, 4 bits": ("compression/low-bit/resnet20", ("W4A4-real", "W4A4-BNS", "W4A4-G"), "accuracy"),
    "CIFAR-10, ResNet-20, 2 bits": ("compression/low-bit/resnet20", ("W2A4-real", "W2A4-BNS", "W2A4-G"), "accuracy"),
    "rendered streets,": ("segmentation/street/deeplab24-lite24", ("kd-real", BEST, "noise"), "miou"),
}
"""Rows of the README's figures: how they begin, where their files are, and what is read from them."""


def measured(place: str, measure: str) -> tuple[str, dict[str, list[float]]]:
    """Return the teacher's figure, as text, and each row's figures in %, one a seed.

    In bf16 one image of 10,000 may round otherwise on another processor: then it is the teacher's figure of the first seed.
    """
    teachers = [value for values in figures(place, f"teacher_{measure}").values() for value in values.values()]
    assert max(teachers) - min(teachers) < 0.015
    return f"{teachers[0]:.2f}", {row: list(values.values()) for row, values in figures(place, f"student_{measure}").items()}


def figures(place: str, name: str) -> dict[str, dict[str, float]]:
    """Return one of the metrics in %, by row and seed, of the runs that have it."""
    rows = dict[str, dict[str, float]]()
    for file in sorted((ROOT / "benchmarks/results" / place).glob("*-seed?.json")):
        row, _, seed = file.stem.rpartition("-seed")
        known = json.loads(file.read_text())["metrics"].get(name)
        if known is not None:
            rows.setdefault(row, {})[seed] = 100 * known
    return rows


def told(values: list[float]) -> str:
    """Return mean and sd over seeds, the sd only where there is one."""
    return f"{mean(values):.2f}" + (f" ± {stdev(values):.2f}" if len(values) > 1 else "")


def test_every_figure_of_the_readme_is_in_the_result_files() -> None:
    table = (ROOT / "README.md").read_text().partition("## Honest numbers")[2].partition("\n\n")[2].partition("\n\n")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]
    assert len(rows) == len(MEASURED)
    for (label, *cells), (start, (place, names, measure)) in zip(rows, MEASURED.items(), strict=True):
        assert label.startswith(start)
        teacher, runs = measured(place, measure)
        blind = {name for name in runs if not name.endswith("-2-x")} - {"real", "kd-real", "unrelated"}
        named = [name or max(blind, key=lambda each: (len(runs[each]), mean(runs[each]))) for name in names]
        method = named[1].removeprefix("W4A4-").removeprefix("W2A4-")
        assert cells == [teacher, told(runs[named[0]]), f"{told(runs[named[1]])}, {method}", told(runs[named[2]])], label


def test_figures_on_how_a_teacher_was_trained_are_in_the_result_files() -> None:
    text = (ROOT / "docs/own-model.md").read_text().partition("### How it was trained")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in text.splitlines() if line.startswith("| ")][1:]
    places = ("mnist/lenet5", "mnist-teachers/lenet5-shift", "mnist-teachers/lenet5-sgd", "mnist-teachers/lenet5-sgd-shift")
    found = [measured(f"data_free/{place}", "accuracy") for place in places]
    assert rows == [[teacher, *(f"{runs[name][0]:.2f}" for name in ("noise", "DFAD"))] for teacher, runs in found]
    first, said = found[0][1], " ".join(text.split())
    for name in ("noise", "DFAD"):
        assert len(first[name]) == 3
        assert f"{first[name][1]:.2f} and {first[name][2]:.2f} of {name if name == 'noise' else f'`{name}`'}" in said
        assert all(len(runs[name]) == 1 for _, runs in found[1:]), "the page says so"
    assert f"{mean(first['DFAD']):.2f} in the mean of three seeds" in said


def test_figures_on_what_fedgen_adds_are_in_the_result_files() -> None:
    text = (ROOT / "docs/federate.md").read_text().partition("**What FedGen adds**")[2].partition("\n**")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| Dirichlet")]
    assert [label for label, *_ in rows] == ["Dirichlet 0.05", "Dirichlet 0.1", "Dirichlet 1"]
    for label, *cells in rows:
        plain, best = (figures(f"federated/{suite}/{label.lower().replace(' ', '-')}", "student_accuracy") for suite in ("mnist", "best"))
        assert cells == [told([*each.values()]) for each in (plain["FedAvg"], plain["FedGen"], best["FedAvg"], best["FedGen-paper"])], label
    hardest, readme = rows[0], " ".join((ROOT / "README.md").read_text().split())
    assert f"FedGen ends at {hardest[2]} %, FedAvg at {hardest[1]} at the papers' learning rate, at {hardest[3]} at its own" in readme
    parts, said = figures("federated/mnist/dirichlet-0.1", "student_accuracy"), " ".join(text.split())
    for words, row in (("the latent term it ends", "latent-term"), ("generated features", "generated-data"), ("diversity", "diversity")):
        less = [value - parts["FedGen"][seed] for seed, value in parts[f"FedGen-no-{row}"].items()]
        assert f"ithout {words} at {mean(less):+.2f}" in said, row


def test_figures_on_feddf_are_in_the_result_files() -> None:
    runs = [figures(f"federated/mnist/dirichlet-{alpha}", "student_accuracy") for alpha in ("0.05", "0.1", "1")]
    given, plain, made = ([told([*each[row].values()]) for each in runs] for row in ("FedDF", "FedAvg", "FedDF-made-images"))
    said = " ".join((ROOT / "docs/federate.md").read_text().split())
    for values, after in ((given, " % with 5,000"), (plain, "; and at"), (made, " with images made")):
        assert f"{values[0]}, {values[1]} and {values[2]}{after}" in said


def test_figures_on_dense_are_in_the_result_files() -> None:
    place = ROOT / "benchmarks/results/federated/dense/dirichlet-0.1"
    names = {"own": "DENSE-seed?.json", "paper": "DENSE-paper-seed?.json"}
    runs = {row: [json.loads(file.read_text())["metrics"] for file in sorted(place.glob(name))] for row, name in names.items()}
    mean_, plain, ours = (told([100 * run["beside"][name] for run in runs["own"]]) for name in ("mean", "plain ensemble", "ensemble"))
    taught, paper = (told([100 * run["student_accuracy"] for run in each]) for each in runs.values())
    said = f"the mean of the weights {mean_} %, the mean of the logits {plain}, by counts {ours}, a student of it {taught}, "
    assert f"{said}the paper's student {paper}." in " ".join((ROOT / "docs/federate.md").read_text().split())


def commands(file: str) -> list[list[str]]:
    """Return the words of every command of a page: of its console blocks, and those of tacit that stand whole in a sentence."""
    text = "\n".join(blocks(file, "console")).replace("\\\n", " ").replace("$seed", "0")
    inside = [span for span in re.findall(r"`(tacit [a-z]+ [^`]*)`", (ROOT / file).read_text()) if "..." not in span]
    return [words for line in [*text.splitlines(), *inside] if (words := shlex.split(line, comments=True))]


OTHERS = ("for seed in 0 1 '2;' do", "done", ". .venv/bin/activate", ".venv/bin/pre-commit install")
"""Commands of the shell, and of tools that are not tried here."""


FLOWER = {
    "flower-superlink": {"": "superlink/cli/flower_superlink.py"},
    "flower-supernode": {"": "supernode/cli/flower_supernode.py"},
    "flwr": {"run": "cli/run/run.py", "supernode": "cli/supernode/register.py"},
}
"""Where Flower keeps the options of its commands."""


def understood(words: list[str]) -> bool:
    """Whether a command is one that this repository knows, with all of its options; nothing is run."""
    name, rest = words[0].removeprefix(".venv/bin/"), words[1:]
    if name == "tacit":
        try:
            return type(parse(rest[0], rest[1:])) is import_object(VERBS[rest[0]][0])
        except SystemExit as left:  # an option that shows something has shown it
            return left.code in (0, None)
    if name == "make":
        return all(re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE) for target in rest)
    if name in FLOWER:
        flower = pytest.importorskip("flwr")
        places = ("common/args.py", FLOWER[name][rest[0] if name == "flwr" else ""])
        text = "".join((Path(flower.__file__).parent / place).read_text() for place in places)
        return all(f'"{word}"' in text for word in rest if word.startswith("--"))
    if name == "export":  # as the exported app has it
        return " ".join(words) in (ROOT / "src/tacit/federate/flower/app/README.md.txt").read_text()
    if name == "python" and rest[:2] == ["-m", "tacit.federate.flower.certificates"]:
        return bool(certificates_parser().parse_args(rest[2:]))
    if name == "python":
        return rest[:2] == ["-m", "benchmarks"] and bool(benchmarks_parser().parse_args(rest[2:]))
    if name == "pip":
        extras = re.findall(r"\w+", " ".join(re.findall(r"\.\[([\w,]+)\]", " ".join(rest))))
        known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
        return rest[0] == "install" and (ROOT / rest[rest.index("-c") + 1]).is_file() and set(extras) <= set(known)
    return shlex.join(words) in OTHERS


@pytest.fixture
def as_a_reader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stand in a folder with what the pages say is there: the recipes, a method in one file, a run with its config."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipes").symlink_to(ROOT / "recipes")
    (tmp_path / "mymethod.py").write_text(python_block("docs/own-method.md"))
    (tmp_path / "runs" / "student").mkdir(parents=True)
    shutil.copy(ROOT / "recipes" / "digits.yaml", tmp_path / "runs" / "student" / "config.yaml")


@pytest.mark.parametrize("file", PAGES)
@pytest.mark.usefixtures("as_a_reader")
def test_every_command_of_a_page_is_understood(file: str) -> None:
    for words in commands(file):
        assert understood(words), shlex.join(words)


def test_the_pages_show_commands_of_every_verb_and_a_wrong_one_is_not_understood() -> None:
    shown = [words for file in PAGES for words in commands(file)]
    assert {words[1] for words in shown if words[0] == "tacit"} == set(VERBS)
    assert len(shown) > 25
    for wrong in (["make", "tests"], ["pip", "install", "-c", "constraints.txt", ".[dta]"], ["tacid", "demo"]):
        assert not understood(wrong)
    for wrong in (["tacit", "distill", "--teacher", "a", "--studnt", "b"], ["tacit", "inspect"]):
        with pytest.raises(InputError):
            understood(wrong)
    with pytest.raises(SystemExit):
        understood(["python", "-m", "benchmarks", "claims", "--claim", "nothing"])


@pytest.mark.parametrize("file", PAGES)
def test_links_to_files_of_this_repository_lead_somewhere(file: str) -> None:
    text = (ROOT / file).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)", text):
        if "://" not in link:
            assert ((ROOT / file).parent / link).exists(), link
