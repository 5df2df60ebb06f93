"""What an experiment found, printed: PLANTED summaries, into a pipe."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import typer

from layerlocal.cli.found import print_summary
from layerlocal.cli.runs import AUDITED
from layerlocal.experiments.audit.summary import summarize
from layerlocal.summary import Column, Missed, Summary, Table
from planted_audit import planted_plan, planted_records, planted_summary
from planted_figures import estimate


def printed(capsys, summary, **how):
    print_summary(summary, Path("runs"), as_json=False, **how)
    return capsys.readouterr().out.splitlines()


def cells(line):
    return re.split(r" {2,}", line.strip())


def table(columns, *rows):
    named = tuple(Column(key=key, label=key, kind=kind) for key, kind in columns.items())
    return Table(caption="planted", columns=named, rows=rows)


def test_an_audit_prints_its_sentences_its_table_and_where_the_page_is(capsys):
    lines = printed(capsys, planted_summary(), columns=AUDITED, page=Path("runs/report.html"))
    assert lines[:3] == list(planted_summary().sentences)
    head = ["rule", "accuracy", "BP", "DeepSup", "local − BP, pp", "= extra supervision", "+ price of locality", "n"]
    assert lines[3].rstrip() == "test accuracy in %; differences paired by seed with 95 % intervals"
    assert [cells(line) for line in lines[4:]] == [
        head,
        ["local-heads", "88.7", "90.0", "90.5", "−1.3 [−2.3, −0.3]", "+0.5 [+0.5, +0.5]", "−1.8 [−2.8, −0.8]", "3"],
        ["class-goodness", "86.9", "90.0", "90.5", "−3.1 [−4.1, −2.1]", "+0.5 [+0.5, +0.5]", "−3.6 [−4.6, −2.6]", "3"],
        ["ff", "75.8", "90.0", "90.5", "−14.2 [−15.2, −13.2]", "+0.5 [+0.5, +0.5]", "−14.7 [−15.7, −13.7]", "3"],
        ["page: runs/report.html"],
    ]


def test_the_printed_table_cuts_no_name_and_no_number(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    name = "/a/folder/[red]far/away/from/here/plugin.py:Mine"
    plan = planted_plan(rules=("local-heads", name), sweep_rule=name, reads={})
    text = "\n".join(printed(capsys, summarize(plan, planted_records(plan)), columns=AUDITED))
    assert "…" not in text and "plugin.py" not in text
    assert re.search(r"\n Mine +86.9", text) and "−3.1 [−4.1, −2.1]" in text


def test_json_is_the_whole_summary_and_nothing_else(capsys):
    print_summary(planted_summary(), Path("runs"), as_json=True)
    out, err = capsys.readouterr()
    assert Summary.model_validate(json.loads(out)) == planted_summary() and err == ""


@pytest.mark.parametrize("as_json", [True, False])
def test_runs_that_failed_end_the_command_with_1_and_those_left_out_do_not(capsys, as_json):
    left_out = Missed(label="a rule on data", reason="it has no readout", left_out=True)
    print_summary(planted_summary(missing=[left_out]), Path("runs"), as_json=as_json)
    failed = Missed(label="[red]ff, seed 2", reason="NaN in the loss of block1")
    with pytest.raises(typer.Exit) as stop:
        print_summary(planted_summary(missing=[left_out, failed]), Path("runs"), as_json=as_json)
    assert stop.value.exit_code == 1
    told = "" if as_json else "failed: [red]ff, seed 2: NaN in the loss of block1\n"
    assert capsys.readouterr().err == told


def test_without_a_page_it_is_said_what_makes_one(capsys):
    lines = printed(capsys, Summary(sentences=("Planted.",), planned=4, finished=3))
    assert lines == ["Planted.", "3 of 4 runs; `layerlocal report --out runs` makes the page"]
    assert printed(capsys, Summary())[-1] == "`layerlocal report --out runs` makes the page"


def test_units_are_said_once_and_n_once_a_row(capsys):
    columns = {"rule": "text", "a": "percent", "b": "percent", "gap": "points", "speed": "ratio", "kept": "bytes"}
    speed = {"median": 1.5, "low": 1.4, "high": 1.6, "n": 3}
    row = {"rule": "x", "a": estimate(0.5), "b": 0.25, "gap": estimate(-0.02), "speed": speed, "kept": 2**20}
    lines = printed(capsys, Summary(tables=(table(columns, row, {"rule": "y", "gap": 0.01}),)))
    assert [cells(line) for line in lines[:4]] == [
        ["planted"],
        ["rule", "a, %", "b", "gap, pp", "speed", "kept", "n"],
        ["x", "50.0", "25.0", "−2.0 [−3.0, −1.0]", "1.50× [1.40, 1.60]", "1.0 MiB", "3"],
        ["y", "–", "–", "+1.0", "–", "–"],
    ]
