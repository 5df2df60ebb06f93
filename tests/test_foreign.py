"""The list of others' code, certified: what a reader needs to make each certificate again is here. No checkout is needed."""

import ast
import shlex
from pathlib import Path

import pytest
from typer.main import get_command

from layerlocal.claims.foreign import load_foreign
from layerlocal.cli import app
from layerlocal.words import ratio

ROOT = Path(__file__).parents[1]
FOREIGN = load_foreign()
ADAPTERS = sorted({*(ROOT / "examples/foreign").glob("*.py")} - {ROOT / "examples/foreign/checkout.py"})


def adapter(entry):
    """File and function of a command."""
    setting, program, command, target = shlex.split(entry.command)
    assert (setting, program, command) == ("LAYERLOCAL_FOREIGN=checkouts", "layerlocal", "certify")
    get_command(app).commands[command].make_context(command, [target])
    file, _, function = target.partition(":")
    return ROOT / file, function


def test_names_stand_once_and_every_adapter_has_an_entry():
    assert (
        len({entry.name for entry in FOREIGN}) == len({entry.url for entry in FOREIGN}) == len(FOREIGN) == len(ADAPTERS)
    )
    assert sorted(adapter(entry)[0] for entry in FOREIGN) == ADAPTERS


@pytest.mark.parametrize("entry", FOREIGN, ids=lambda entry: entry.name)
def test_the_command_names_an_adapter_that_defines_the_function_for_the_same_commit(entry):
    file, function = adapter(entry)
    tree = ast.parse(file.read_text())
    assert function in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
    values = {node.targets[0].id: node.value for node in tree.body if isinstance(node, ast.Assign)}
    assert ast.literal_eval(values["COMMIT"]) == entry.commit
    called = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "use"]
    assert [call.args[0].value for call in called] == [entry.url.rpartition("/")[2]]


@pytest.mark.parametrize("entry", FOREIGN, ids=lambda entry: entry.name)
def test_an_adapter_is_short_and_names_its_source_its_licence_and_its_command(entry):
    file, _ = adapter(entry)
    text = file.read_text()
    assert len(text.splitlines()) <= 60
    assert entry.url in text and "\nLicence: " in text and f"\n    {entry.command}\n" in text


@pytest.mark.parametrize("entry", FOREIGN, ids=lambda entry: entry.name)
def test_a_verdict_says_the_locality_and_the_ratio_of_its_entry(entry):
    assert entry.verdict.startswith(entry.locality)
    assert entry.saved_bytes is None or f"{ratio(entry.saved_bytes)} the saved activations" in entry.verdict


def test_functions_that_words_name_are_there():
    for entry in FOREIGN:
        for word in entry.words.split("`")[1::2]:
            if ".py:" in word:
                file, _, function = word.partition(":")
                assert f"def {function}(" in (ROOT / "examples/foreign" / file).read_text()


def test_the_page_says_how_to_get_the_first_of_them():
    page = (ROOT / "examples/foreign/README.md").read_text()
    assert all(part in page for part in (FOREIGN[0].url, FOREIGN[0].commit, FOREIGN[0].command))
