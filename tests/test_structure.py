"""The shape of the house: sizes, directions of imports, names."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import tacit
from tacit.federate import ALGORITHMS
from tacit.synthesize import METHODS

ROOT = Path(tacit.__file__).parent
FILES = sorted(ROOT.rglob("*.py"))
KNOWS = {
    "core": {"core"},
    "losses": {"core", "losses"},
    "data": {"core", "data"},
    "evaluate": {"core", "losses", "evaluate"},
    "report": {"core", "report"},
    "zoo": {"core", "zoo"},
    "synthesize": {"core", "losses", "synthesize"},
    "distill": {"core", "losses", "data", "synthesize", "distill"},
    "quantize": {"core", "losses", "synthesize", "distill", "quantize"},
    "prune": {"core", "losses", "synthesize", "distill", "prune"},
    "federate": {"core", "losses", "data", "evaluate", "synthesize", "distill", "federate"},
    "verbs": {"core", "losses", "data", "evaluate", "report", "zoo", "synthesize", "distill", "quantize", "prune", "federate", "verbs"},
    "helptext": set(),
    "command": {"core", "synthesize", "distill", "federate", "verbs", "helptext"},
    "cli": {"core", "verbs", "command"},
    "__main__": {"cli"},
    "__init__": {"verbs"},
}


def module_name(path: Path) -> str:
    return ".".join(("tacit", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__")


def part(path: Path) -> str:
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported(tree: ast.AST, *, skip_type_checking: bool = False) -> set[str]:
    found: set[str] = set()
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(node.module or "")
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
        elif not (skip_type_checking and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)):
            found |= imported(node, skip_type_checking=skip_type_checking)
    return found


def run(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_there_is_a_house() -> None:
    assert len(FILES) > 40
    assert {part(path) for path in FILES} == set(KNOWS)


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_no_file_is_longer_than_300_lines(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 300


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_imports_point_one_way(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    names = {name for name in imported(tree, skip_type_checking=path == ROOT / "__init__.py") if name.startswith("tacit.")}
    parts = {name.split(".")[1] for name in names}
    assert parts <= KNOWS[part(path)]


LOOPS = ["synthesize/loop.py", "distill/loop.py", "distill/sources.py", "distill/synthetic.py", "distill/health.py", "distill/advice.py"]


@pytest.mark.parametrize("name", LOOPS)
def test_no_loop_knows_the_name_of_a_method(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    modules = {kind.__module__.rpartition(".")[2] for kind in METHODS}
    words = {kind.__name__ for kind in METHODS} | modules | {"METHODS"}
    assert not {word for word in words if re.search(rf"\b{word}\b", text)}


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_every_module_says_what_is_public_and_has_it(path: Path) -> None:
    module = importlib.import_module(module_name(path))
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    if len(tree.body) > 1:
        assert all(hasattr(module, name) for name in module.__all__)
        assert len(set(module.__all__)) == len(module.__all__)


@pytest.mark.parametrize("kind", METHODS, ids=lambda kind: kind.__name__)
def test_every_method_is_one_short_file_with_its_citation_on_top(kind: type) -> None:
    text = Path(sys.modules[kind.__module__].__file__ or "").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 150
    assert "https://arxiv.org/abs/" in text.split('"""')[1]


@pytest.mark.parametrize("name", tacit.__all__)
def test_every_public_name_resolves(name: str) -> None:
    assert getattr(tacit, name) is not None
    assert name in dir(tacit)


@pytest.mark.parametrize("folder", ["core", "data", "losses", "verbs", "zoo"])
def test_the_folders_are_there_whatever_was_used_before(folder: str) -> None:
    assert run(f"import tacit; print(tacit.{folder}.__name__)") == f"tacit.{folder}"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'tacit' has no attribute 'distil'"):
        tacit.distil  # noqa: B018


def test_importing_tacit_does_not_import_torch() -> None:
    assert run("import tacit, sys; print(sorted({'torch', 'numpy', 'rich', 'lightning_fabric'} & set(sys.modules)))") == "[]"


def test_the_command_lines_help_does_not_import_torch() -> None:
    code = "import sys, tacit.cli; code = tacit.cli.main(['--help']); print(code, 'torch' in sys.modules)"
    assert run(code).splitlines()[-1] == "0 False"


CALLED = "assert callable(tacit.distill) and 'student' in inspect.signature(tacit.distill).parameters; "
INSIDE = "from tacit.distill.loop import Learner; import tacit.distill.loop as loop; assert loop.Learner is Learner; "


@pytest.mark.parametrize(
    "order", [CALLED + INSIDE + CALLED, INSIDE + CALLED, "from tacit import distill; assert callable(distill); " + INSIDE]
)
def test_a_verb_and_the_folder_of_its_name_live_together_whichever_comes_first(order: str) -> None:
    assert run(f"import inspect, tacit; {order}print(tacit.distill.Learner.__name__)") == "Learner"


@pytest.mark.parametrize("name", ["distill", "evaluate", "federate", "prune", "quantize", "report", "synthesize"])
def test_every_verb_that_shares_its_name_with_a_folder_is_both(name: str) -> None:
    folder = importlib.import_module(f"tacit.{name}")
    assert callable(folder)
    assert getattr(tacit, name) is folder


ROUNDS = ["federate/server.py", "federate/client.py", "federate/engines.py", "federate/plan.py", "federate/central.py"]


@pytest.mark.parametrize("name", ROUNDS)
def test_no_loop_of_a_federation_knows_the_name_of_an_algorithm(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    modules = {kind.__module__.rpartition(".")[2] for kind in ALGORITHMS}
    assert not {word for word in {kind.__name__ for kind in ALGORITHMS} | modules | {"ALGORITHMS"} if re.search(rf"\b{word}\b", text)}


@pytest.mark.parametrize("kind", ALGORITHMS, ids=lambda kind: kind.__name__)
def test_every_federated_algorithm_is_one_file_with_its_citation_on_top(kind: type) -> None:
    text = Path(sys.modules[kind.__module__].__file__ or "").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 250
    assert re.search(r"https://(arxiv\.org/abs/|proceedings\.)", text.split('"""')[1])


@pytest.mark.parametrize("path", FILES, ids=module_name)
def test_flower_is_imported_by_its_adapter_alone_and_there_lazily(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    flower = {name for name in imported(tree) if name.split(".")[0] in ("flwr", "ray")}
    if path.relative_to(ROOT).as_posix().startswith("federate/flower"):
        top = {name for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom) for name in imported(ast.Module([node], []))}
        flower = {name for name in top if name.split(".")[0] in ("flwr", "ray")}
    assert not flower


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "py.typed").is_file()


def test_the_readme_names_every_method_and_verb() -> None:
    from tacit.synthesize import METHODS
    from tacit.verbs import VERBS

    readme = (Path(__file__).parents[1] / "README.md").read_text()
    for name in [*(kind.__name__ for kind in METHODS), *VERBS]:
        assert f"| `{name}` |" in readme, f"{name} is missing from the tables of the README"
