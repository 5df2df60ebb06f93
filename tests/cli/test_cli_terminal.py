"""What a terminal can show and who may speak: every command says something readable wherever it is run."""

from __future__ import annotations

import io
import sys

import pytest

import layerlocal.cli

DATA = ["--data", "teacher_student", "--set", "data.classes=3", "--set", "data.num_train=96", "--set", "data.num_test=32"]  # fmt: skip
MLP = ["--network", "mlp", "--set", "network.depth=2", "--set", "network.hidden=16", "--set", "recipe.batch_size=32"]  # fmt: skip
SMALL = [*DATA, *MLP, "--epochs", "1"]


@pytest.fixture
def on_terminal(monkeypatch, tmp_path):
    """Run a command with standard streams of some encoding: (exit code, output, errors), as they were encoded."""
    monkeypatch.chdir(tmp_path)

    def call(*words, encoding="ascii"):
        streams = [io.TextIOWrapper(io.BytesIO(), encoding=encoding) for _ in range(2)]
        monkeypatch.setattr(sys, "stdout", streams[0])
        monkeypatch.setattr(sys, "stderr", streams[1])
        monkeypatch.setattr(sys, "argv", ["layerlocal", *words])
        code = 0
        try:
            layerlocal.cli.main()
        except SystemExit as stop:
            code = stop.code or 0
        for stream in streams:
            stream.flush()
        return code, *(stream.buffer.getvalue().decode(encoding) for stream in streams)

    return call


@pytest.mark.parametrize(
    ("words", "encoding"),
    [
        *((["list"], encoding) for encoding in ("ascii", "latin-1", "cp1252", "koi8-r")),
        *((words, "ascii") for words in (["--help"], ["cost", "--help"], ["study"], ["train", *SMALL], ["check", "local-heads"])),
    ],
    ids=lambda words: words if isinstance(words, str) else words[0],
)  # fmt: skip
def test_every_terminal_can_show_every_command(on_terminal, words, encoding):
    code, out, err = on_terminal(*words, encoding=encoding)
    assert code == 0 and out and "Traceback" not in err
    assert words == ["study"] or "?" not in out.replace("forum?id=", ""), "a sign that nothing stands for"


def test_signs_are_said_in_letters_and_names_without_their_accents(on_terminal):
    assert "ok Losses are finite" in on_terminal("check", "local-heads")[1]
    code, out, err = on_terminal("train", "--rule", "dtg−×é√")
    assert (code, out) == (2, "") and "unknown rule 'dtg-xe?'" in err


def test_a_name_that_is_no_text_is_shown_by_its_bytes(on_terminal):
    code, out, err = on_terminal("train", "--data", b"d\xffd".decode("utf-8", "surrogateescape"), encoding="utf-8")
    assert (code, out) == (2, "") and "d\\xffd" in err and "Traceback" not in err


def test_a_terminal_that_can_show_everything_gets_everything(on_terminal):
    assert "✓ Losses are finite" in on_terminal("check", "local-heads", encoding="utf-8")[1]


@pytest.mark.parametrize("rank", ["1", "7", "zero", ""])
@pytest.mark.parametrize(
    "words",
    [["train", "--rule", "nobody"], ["check", "nobody"], ["show", "--sort", "nobody"], ["list", "nobody"], ["study", "nobody"]],
    ids=lambda words: words[0],
)  # fmt: skip
def test_a_rank_in_the_surroundings_silences_no_command(refused, monkeypatch, words, rank):
    """Some clusters set it for every program."""
    monkeypatch.setenv("RANK", rank)
    assert words[-1] in refused(*words)


def test_a_run_of_one_process_speaks_whatever_its_rank(cli, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    code, out, err = cli("train", *SMALL)
    assert code == 0 and "test accuracy" in out and "epoch" in err


def test_of_many_processes_of_one_run_only_the_first_says_what_is_wrong(cli, monkeypatch):
    words = ["train", "--parallel", "data", "--set", "nonsense=1"]
    for rank, said in (("0", "'nonsense'"), ("1", "")):
        monkeypatch.setenv("RANK", rank)
        code, out, err = cli(*words)
        assert (code, out) == (2, "") and said in err and bool(err) == bool(said)
    assert "nobody" in cli("check", "nobody")[2], "and the next command speaks again"


@pytest.mark.parametrize(("command", "goes_on"), [("check", False), ("study", True)])
def test_only_a_command_that_keeps_something_says_that_it_goes_on(cli, monkeypatch, command, goes_on):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("layerlocal.measure.contract.iterate_checks", stop)
    monkeypatch.setattr("layerlocal.experiments.studies.running.run_study", stop)
    words = {"check": ["check", "ff"], "study": ["study", "composition"]}[command]
    code, out, err = cli(*words)
    assert (code, out) == (130, "") and "interrupted" in err and ("goes on" in err) == goes_on
