"""Every kind of refusal, and the whole sentence that it says: the calls are in ``refusals``, the sentences in ``tests/sentences.yaml``."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import shutil
from pathlib import Path

import pytest
import test_battery_stores
import yaml
from refusals import CALLS
from test_battery_data import ARRAYS, FOLDERS, TABLES
from test_battery_rules import TINY, content_of
from worlds import CLAIM, arrays_file, image_folder, parquet_folder

from layerlocal import RunStore, load_data

SENTENCES = yaml.safe_load(Path(__file__).parents[1].joinpath("sentences.yaml").read_text(encoding="utf-8"))
"""Field → kind → sentence. ``{…}`` stands for what a case does not fix: the names of a registry, a run's name."""

each = pytest.mark.parametrize(("field", "kind"), CALLS, ids=[f"{field}, {kind}" for field, kind in CALLS])
ADVICE = re.compile(
    r"; (?!they)[-\w`'{]|\b(must|should|needs?|takes?|known|give|see|leave|add|say|name)\b"
    r"|\b(are for|goes with|belong to|can be|is one of|is the shape)\b"
    r"|^a (rule|device|loss) (is|names)"
)
"""A sentence says what would be right: what must be, what is known, or what to do."""
BARE = {
    ("classes", "no such index"), ("draw", "no groups"), ("test", "more classes"), ("test", "another shape"),
    ("table", "fewer class names than classes"), ("rule", "no file"), ("rule", "other classes"), ("temperature_max", "below temperature_min"),
    ("rule file", "a module that is not there"), ("rule file", "an import that leaves"), ("rule file", "raises when it is made"),
    ("rule file", "losses of an unknown block"), ("network file", "no file"), ("network file", "raises"),
    ("step file", "no file"), ("protocol", "another"),
    ("--rules", "a baseline"), ("--seeds", "out of range"),
}  # fmt: skip
"""Sentences that say only what is wrong. A better one leaves this set."""


@pytest.fixture
def command(refuse, inside):
    """Run a command; ``RUN`` is the run of the world."""
    run = (inside / "run.txt").read_text()
    return lambda words: refuse(*(run if word == "RUN" else word for word in shlex.split(words)))


@pytest.fixture
def folder(reject, tmp_path):
    def call(name):
        FOLDERS[name][0](image_folder(tmp_path / "bad"))
        return reject(lambda: load_data("bad", validation=0))

    return call


@pytest.fixture
def table(reject, tmp_path):
    def call(name):
        train, test, _ = TABLES[name]
        parquet_folder(tmp_path / "bad", train and train(), test and test())
        return reject(lambda: load_data("bad", validation=0))

    return call


@pytest.fixture
def arrays(reject, tmp_path):
    def call(name):
        arrays_file(tmp_path / "bad.npz", **ARRAYS[name][1])
        return reject(lambda: load_data("bad.npz", validation=0))

    return call


@pytest.fixture
def rule_file(refuse, tmp_path):
    def call(name):
        (tmp_path / "mine.py").write_text(content_of(name))
        return refuse(*TINY, "store")

    return call


@pytest.fixture
def claim(refuse, tmp_path):
    """Read a file of one claim with something else in it."""

    def call(changes):
        (tmp_path / "mine.yaml").write_text(yaml.safe_dump({"claims": [CLAIM | eval(changes)]}))
        return refuse("claims", "--file", "mine.yaml")

    return call


@pytest.fixture
def damaged(refuse, inside, tmp_path):
    """Show a run one file of which is spoiled."""

    def call(words):
        way, file = words.split()
        shutil.copytree(inside / "runs", tmp_path / "runs", symlinks=True)
        run = (inside / "run.txt").read_text()
        getattr(test_battery_stores, way)(tmp_path / "runs" / run / file)
        return refuse("show", run)

    return call


@pytest.fixture
def answers(reject, inside, tmp_path):
    """Read the answers of a run that has more bits than images, and says that this is what was written."""

    def call(_):
        shutil.copytree(inside / "runs", tmp_path / "runs", symlinks=True)
        run = (inside / "run.txt").read_text()
        file, done = (tmp_path / "runs" / run / name for name in ("answers.bin", "DONE"))
        file.write_bytes(file.read_bytes() + b"\0")
        sums = json.loads(done.read_text()) | {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}
        done.write_text(json.dumps(sums))
        return reject(lambda: RunStore("runs").answers(run))

    return call


@pytest.fixture
def said(request, reject, inside, names, tmp_path, monkeypatch):
    """The sentence of a call of the table."""
    ways = {
        "folder": "folder",
        "table": "table",
        "arrays": "arrays",
        "rule": "rule_file",
        "claim": "claim",
        "run": "damaged",
        "answers": "answers",
    }

    def by(call):
        way, _, rest = call.partition(" ")
        if way == "layerlocal":
            return request.getfixturevalue("command")(rest)
        if way in ways:
            make = request.getfixturevalue(ways[way])
            monkeypatch.chdir(tmp_path)
            return make(rest)
        return reject(lambda: eval(call, names | {"store": RunStore(inside / "runs")}))

    return by


@each
def test_a_refusal_says_the_sentence_of_the_table(said, field, kind):
    whole = r".+".join(re.escape(part) for part in SENTENCES[field][kind].split("{…}"))
    sentence = said(CALLS[field, kind])
    assert re.fullmatch(whole, sentence), sentence


def test_every_sentence_of_the_table_has_a_call():
    assert {(field, kind) for field, kinds in SENTENCES.items() for kind in kinds} == set(CALLS)


def test_no_sentence_stands_twice():
    sentences = [sentence for kinds in SENTENCES.values() for sentence in kinds.values()]
    assert len(set(sentences)) == len(sentences)


@each
def test_a_sentence_is_plain_words_and_tells_what_would_be_right(field, kind):
    sentence = SENTENCES[field][kind]
    assert sentence == " ".join(sentence.split()) and not sentence.startswith("error")
    assert not re.search(r"layerlocal\.\w+|<class '|<function| object at 0x|Traceback", sentence)
    assert bool(ADVICE.search(sentence)) == ((field, kind) not in BARE)
