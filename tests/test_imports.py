"""Imports point one way: every file of the package is read and held against the order of the house."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from layerlocal.rules import find_rule, list_rules

SOURCE = Path(__file__).resolve().parents[1] / "src/layerlocal"
SAID = (SOURCE.parents[1] / "CONTRIBUTING.md").read_text().partition("`src/layerlocal/`: ")[2].partition(". ")[0]
ORDER = [*(set(re.findall(r"`(\w+)`", floor)) for floor in SAID.split("<")), {"__main__"}]
"""Rooms from the ground up, as CONTRIBUTING.md says: a file imports its own room and lower ones only. ``layerlocal/__init__.py`` re-exports."""
TRAINING = {"rules", "data", "networks", "measure", "training"}
NEVER = {
    "rules": {"data"},
    "spec": {"stats"},
    "report": TRAINING,
    "claims": {"kernels", "networks"},
}
"""What a room does not import although it is lower."""
LEVEL = {room: level for level, rooms in enumerate(ORDER) for room in rooms}
FILES = sorted(path for path in SOURCE.rglob("*.py") if path != SOURCE / "__init__.py")


def room_of(path):
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported_names(path):
    """Dotted names of all imports, those inside functions too."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: write imports in full"
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names if node.module == "layerlocal")


def rooms_imported(path):
    parts = [name.split(".") for name in imported_names(path)]
    return {part[1] for part in parts if part[0] == "layerlocal" and len(part) > 1 and not part[1].startswith("__")}


def test_every_file_belongs_to_a_room():
    assert len(LEVEL) == sum(map(len, ORDER)), "CONTRIBUTING.md names a room twice"
    assert {room_of(path) for path in FILES} == set(LEVEL), "say in CONTRIBUTING.md where these stand"


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_file_imports_its_own_room_and_lower_ones_only(path):
    room = room_of(path)
    for other in rooms_imported(path) - {room}:
        assert LEVEL[other] < LEVEL[room], f"{room} imports {other}"
        assert other not in NEVER.get(room, set()), f"{room} imports {other}"


def test_no_file_imports_itself_over_others():
    """Neither at the top of a file, nor inside functions, nor for types alone. A package stands for its ``__init__.py``."""
    modules = {
        ".".join(("layerlocal", *path.relative_to(SOURCE).with_suffix("").parts)).removesuffix(".__init__"): path
        for path in FILES
    }
    graph = {
        name: {other for other in imported_modules(path, modules) if other != name} for name, path in modules.items()
    }
    try:
        tuple(TopologicalSorter(graph).static_order())
    except CycleError as error:
        pytest.fail(f"a circle: {' ← '.join(error.args[1])}")


def imported_modules(path, modules):
    """Files of ours that one imports: ``from package import name`` is the file ``name`` of the package, where there is one."""
    for node in ast.walk(ast.parse(path.read_text())):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in inner]
        yield from (name for name in names if name in modules)


def test_types_imports_nothing_of_ours():
    assert not rooms_imported(SOURCE / "types.py")


def test_spec_imports_only_names_and_types():
    assert rooms_imported(SOURCE / "spec.py") == {"names", "types", "validated"}
    assert rooms_imported(SOURCE / "validated.py") == {"types"}


@pytest.mark.parametrize("path", [p for p in FILES if room_of(p) == "report"], ids=lambda path: path.name)
def test_the_report_never_imports_torch(path):
    assert not {name.split(".")[0] for name in imported_names(path)} & {"torch", "safetensors"}


@pytest.mark.parametrize(
    "name",
    [
        *(f"training/{name}.py" for name in ("train", "rehearsal", "evaluate", "meter", "optimizer")),
        "measure/locality.py",
        "measure/probe.py",
    ],
)
def test_the_loop_names_no_rule(name):
    """No ``if rule == ...``: neither a rule's name nor its class stands in the code of the loop and of the measures."""
    tree = ast.parse((SOURCE / name).read_text())
    docs = {
        id(node.body[0].value)
        for node in ast.walk(tree)
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and isinstance(node.body[0], ast.Expr)
    }
    words = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    words |= {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    texts = {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs
    }
    assert not texts & set(list_rules())
    assert not words & {find_rule(rule).__name__ for rule in list_rules()}


def test_importing_the_package_and_the_report_loads_no_torch():
    code = "import layerlocal, layerlocal.report, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("path", [*FILES, SOURCE / "__init__.py"], ids=lambda path: str(path.relative_to(SOURCE)))
def test_nothing_is_unpickled(path):
    imports = {name.split(".")[0] for name in imported_names(path)}
    assert not imports & {"pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    text = path.read_text()
    assert "torch.load" not in text and "torch.save" not in text and "allow_pickle=True" not in text


def test_public_names_are_found_where_they_say():
    import layerlocal

    for name in layerlocal.__all__:
        assert getattr(layerlocal, name) is not None
    with pytest.raises(AttributeError, match=r"no attribute 'nothing'$"):
        layerlocal.nothing  # noqa: B018
    with pytest.raises(AttributeError, match=r"'create_rul'\. Did you mean 'create_rule'"):
        layerlocal.create_rul  # noqa: B018


def test_the_stub_is_the_one_list_of_public_names():
    import layerlocal

    stub = ast.parse((SOURCE / "__init__.pyi").read_text())
    names = {alias.asname for node in stub.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert {*dir(layerlocal)} == names | {"__version__"}
    assert {*dir(layerlocal)} - {*layerlocal.__all__} == {"LayerLocalClassifier"}  # it needs an extra
