"""What every project has: workflows that call targets that exist, forms that GitHub takes, metadata that agrees with itself."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
import yaml

import layerlocal
from heavy import HEAVY

ROOT = Path(__file__).parents[1]
GITHUB = ROOT / ".github"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
FORMS = sorted(path for path in (GITHUB / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
WORKFLOWS = sorted((GITHUB / "workflows").glob("*.yml"))
TARGETS = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))


def jobs_of(path):
    return yaml.safe_load(path.read_text())["jobs"]


@pytest.mark.parametrize("path", [*GITHUB.rglob("*.yml"), ROOT / "CITATION.cff"], ids=lambda path: path.name)
def test_every_yaml_file_of_the_project_parses(path):
    assert isinstance(yaml.safe_load(path.read_text(encoding="utf-8")), dict)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_step_of_a_workflow_calls_a_target_of_make_or_an_action_of_a_named_version(path):
    assert "test" in TARGETS and "audit" in TARGETS
    for job in jobs_of(path).values():
        assert job["runs-on"] and job["timeout-minutes"] <= 60
        for step in job["steps"]:
            if "run" in step:
                words = step["run"].split()
                assert words[0] == "make" and words[1] in TARGETS and all("=" in word for word in words[2:])
            else:
                assert re.fullmatch(r"actions/[a-z-]+@v\d+", step["uses"])


def test_ci_runs_test_and_audit_on_the_oldest_and_the_newest_python_and_caches_what_pip_fetches():
    jobs = jobs_of(GITHUB / "workflows" / "ci.yml")
    names = [found for text in PROJECT["classifiers"] if (found := re.fullmatch(r".* :: (3\.\d+)", text))]
    versions = sorted((found[1] for found in names), key=lambda text: int(text.split(".")[1]))
    assert jobs["test"]["strategy"]["matrix"]["python"] == [versions[0], versions[-1]]
    assert PROJECT["requires-python"] == f">={versions[0]}"
    runs = {step["run"] for job in jobs.values() for step in job["steps"] if "run" in step}
    assert {"make test", "make audit OUT=audit"} <= runs
    for job in jobs.values():
        [python] = [step["with"] for step in job["steps"] if step.get("uses", "").startswith("actions/setup-python")]
        assert python["cache"] == "pip"
        assert all((ROOT / name).exists() for name in python["cache-dependency-path"].split())
    [kept] = [step["with"]["path"] for step in jobs["audit"]["steps"] if "upload-artifact" in step.get("uses", "")]
    assert "audit/report.html" in kept.split()


@pytest.mark.parametrize("path", FORMS, ids=lambda path: path.name)
def test_an_issue_form_has_what_github_asks_of_one(path):
    form = yaml.safe_load(path.read_text())
    assert form["name"] and form["description"] and form["body"]
    ids = [element["id"] for element in form["body"]]
    labels = [element["attributes"]["label"] for element in form["body"]]
    assert len(set(ids)) == len(ids) and len(set(labels)) == len(labels)
    for element in form["body"]:
        assert element["type"] in {"input", "textarea", "dropdown", "checkboxes"}
        assert re.fullmatch(r"[A-Za-z0-9_-]+", element["id"])
        assert element["type"] != "dropdown" or len(set(element["attributes"]["options"])) > 1
    assert any(element.get("validations", {}).get("required") for element in form["body"])


def test_there_are_forms_for_a_bug_a_rule_and_a_claim_and_a_checklist_for_changes():
    assert {path.stem for path in FORMS} == {"bug", "claim", "rule"}
    text = (GITHUB / "PULL_REQUEST_TEMPLATE.md").read_text()
    assert text.count("- [ ] ") == text.count("\n- ") >= 5
    for name in re.findall(r"`([\w./]+/[\w./]*|\w+\.md)`", text):
        assert (ROOT / name).exists(), name


def test_addresses_lead_into_one_repository_and_their_files_are_there():
    home = PROJECT["urls"]["Homepage"]
    assert {"Homepage", "Source", "Documentation", "Changelog", "Issues"} == PROJECT["urls"].keys()
    for address in PROJECT["urls"].values():
        assert address.startswith(home)
        _, blob, file = address.partition("/blob/main/")
        assert not blob or (ROOT / file).is_file()
    config = yaml.safe_load((GITHUB / "ISSUE_TEMPLATE" / "config.yml").read_text())
    assert all(link["url"].startswith(f"{home}/blob/main/SECURITY.md") for link in config["contact_links"])


def test_classifiers_are_those_of_the_index_once_each_and_say_no_licence_twice():
    classifiers = PROJECT["classifiers"]
    assert len(set(classifiers)) == len(classifiers) and classifiers == sorted(classifiers, key=str.lower)
    assert not any(text.startswith("License ::") for text in classifiers), "the licence is an SPDX expression"
    assert "Typing :: Typed" in classifiers and (Path(layerlocal.__file__).parent / "py.typed").exists()


def test_the_version_is_one_and_the_same():
    assert PROJECT["version"] == layerlocal.__version__
    text = (ROOT / "CHANGELOG.md").read_text()
    headings = re.findall(r"^## \[(.+?)\](?: - (\d{4}-\d{2}-\d{2}))?$", text, re.MULTILINE)
    assert headings[0] == ("Unreleased", "") and headings[1][0] == PROJECT["version"]
    assert all(day for name, day in headings[1:])
    kinds = set(re.findall(r"^### (.+)$", text, re.MULTILINE))
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_what_the_security_page_says_of_commands_is_so():
    import typer

    from layerlocal.cli import app

    text = (ROOT / "SECURITY.md").read_text()
    commands = typer.main.get_command(app).commands
    assert "--trust-rule-files" in {name for param in commands["export"].params for name in param.opts}
    assert "--trust-rule-files" in text
    for name in re.findall(r"`layerlocal (\w+)`", text):
        assert name in commands


def test_files_of_tests_that_run_first_are_there():
    assert len(set(HEAVY)) == len(HEAVY)
    assert not [name for name in HEAVY if not (ROOT / f"tests/{name}.py").exists()]
