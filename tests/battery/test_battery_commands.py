"""Bad words on the command line: every command, every option. One sentence that names the culprit, exit code 2, nothing left behind."""

from __future__ import annotations

import itertools
import shlex

import pytest

BASE = {
    "data.classes": 3, "data.num_train": 96, "data.num_test": 32, "network.depth": 2, "network.hidden": 16, "recipe.batch_size": 32,
}  # fmt: skip
"""Settings of a run of a moment; a case replaces those that it gives."""
TEACHER = ["--data", "teacher_student"]
SMALL = ["--network", "mlp", "--epochs", "1"]
BEGINNINGS = {
    "TRAIN": ["train", *TEACHER, *SMALL],
    "TUNE": ["tune", *TEACHER, *SMALL, "--trials", "1"],
    "IMAGES": ["train", "--data", "images", *SMALL],
    "NETWORK": ["train", *TEACHER, "--epochs", "1"],
    "DATA": ["train", *SMALL],
}
"""Commands that would train, were it not for the bad word after them."""


def expand(words):
    """The whole command of a case: its beginning, the settings of `BASE` that fit and are not the case's own, and its words."""
    if words[0] not in BEGINNINGS:
        return words
    own = {word.partition("=")[0] for option, word in itertools.pairwise(words) if option == "--set"}
    left_out = {"IMAGES": "data.", "DATA": "data.", "NETWORK": "network."}.get(words[0], "none")
    base = [f"{key}={value}" for key, value in BASE.items() if key not in own and not key.startswith(left_out)]
    return [*BEGINNINGS[words[0]], *(word for setting in base for word in ("--set", setting)), *words[1:]]


DEEP = "[" * 1000
LONG = "a" * 5000

TABLE = f"""
audt                                                            | audt
audit --foo                                                     | --foo
audit extra                                                     | extra
audit --out ''                                                  | --out
audit --out afile                                               | afile
audit --out afile/below                                         | afile
audit --out {LONG[:300]}                                        | aaaa
audit --rule nothing                                            | nothing
audit --rule class-goodness,fff                                         | fff
audit --rule ''                                                 | rule
audit --rule nothing.py:Mine                                    | nothing.py
audit --rule mine.py                                            | mine.py
audit --rule mine.py:Other                                      | Other
audit --rule afile                                              | afile
audit --rule {LONG}                                             | aaaa
audit --data nowhere                                            | nowhere
audit --data ./nowhere                                          | nowhere
audit --data afile                                              | afile
audit --data empty                                              | empty
audit --data ''                                                 | data
audit --data {LONG[:300]}                                       | aaaa
audit --data teacher_student                                    | vectors
audit --dry-run --data teacher_student                          | vectors
audit --seeds 0                                                 | seeds
audit --seeds -1                                                | seeds
audit --seeds 1e9                                               | seeds
audit --seeds 1000000000000                                     | seeds
audit --seeds two                                               | seeds
audit --seeds 2.5                                               | seeds
audit --size huge                                               | huge
audit --workers 0                                               | workers
audit --workers x                                               | workers
audit --workers 1000000                                         | workers
audit --seeds                                                   | --seeds

train --foo 1                                                   | --foo
train extra                                                     | extra
TRAIN --rule                                                  | --rule
TRAIN --rule nothing                                          | nothing
TRAIN --rule ''                                               | rule
TRAIN --rule .py:Mine                                         | .py
TRAIN --rule nothing.py:Mine                                  | nothing.py
TRAIN --rule empty:Mine                                       | empty:Mine
TRAIN --rule mine.py                                          | mine.py
TRAIN --rule mine.py:                                         | mine.py
TRAIN --rule mine.py:Other                                    | Other
TRAIN --rule mine.py:RuleInfo                                 | RuleInfo
TRAIN --rule {LONG}.py:Mine                                   | aaaa
DATA --data nowhere                                    | nowhere
DATA --data ''                                         | data
DATA --data ./nowhere                                  | nowhere
DATA --data afile                                      | afile
DATA --data empty                                      | empty
DATA --data runs                                       | runs
DATA --data {LONG}                                     | aaaa
DATA --data ~nobody/x                                  | /x
DATA --data /proc/self/mem                             | /proc/self/mem
NETWORK --network nothing                               | nothing
NETWORK --network ''                                    | network
NETWORK --network vgg8                                  | network
TRAIN --width 0                                               | width
TRAIN --width -1                                              | width
TRAIN --width nan                                             | width
TRAIN --width inf                                             | width
TRAIN --width wide                                            | width
TRAIN --width 1e300                                           | width
TRAIN --width 1e9                                             | memory
TRAIN --epochs 0                                              | epochs
TRAIN --epochs -3                                             | epochs
TRAIN --epochs 1.5                                            | epochs
TRAIN --epochs 1e999                                          | epochs
TRAIN --seed -1                                               | seed
TRAIN --seed 1.5                                              | seed
TRAIN --seed 99999999999999999999999999                       | seed
TRAIN --device gpu                                            | gpu
TRAIN --device cuda                                           | cuda
TRAIN --device cuda:99                                        | cuda:99
TRAIN --device cuda:x                                         | cuda:x
TRAIN --device cpu:x                                          | cpu:x
TRAIN --device mps                                            | mps
TRAIN --device ''                                             | device
TRAIN --threads 0                                             | threads
TRAIN --threads -4                                            | threads
TRAIN --threads 100000                                        | threads
TRAIN --threads many                                          | threads
TRAIN --threads 1e3                                           | threads
TRAIN --parallel rows                                         | rows
TRAIN --parallel ''                                           | parallel
TRAIN --parallel layers                                       | torchrun
TRAIN --out ''                                                | --out
TRAIN --out afile                                             | afile
TRAIN --out afile/below                                       | afile
TRAIN --out {LONG[:300]}                                      | aaaa
TRAIN --out {LONG}                                            | aaaa
TRAIN --out /proc/self/status                                 | /proc/self/status
TRAIN --out /proc/nowhere                                     | /proc/nowhere
TRAIN --set                                                   | --set
TRAIN --set rule.grid                                         | rule.grid
TRAIN --set =4                                                | =4
TRAIN --set ''                                                | --set
TRAIN --set '='                                               | --set
TRAIN --set rule.grids=4                                      | grids
TRAIN --set grid=4                                            | grid
TRAIN --set rule=4                                            | rule
TRAIN --set rule.=4                                           | rule.
TRAIN --set .grid=4                                           | .grid
TRAIN --set rule..grid=4                                      | .grid
TRAIN --set rule.grid=four                                    | grid
TRAIN --set rule.grid=[4]                                     | grid
TRAIN --set rule.grid=                                        | grid
TRAIN --set rule.grid=4.5                                     | grid
TRAIN --set rule.grid=true                                    | grid
TRAIN --set rule.grid=0                                       | grid
TRAIN --set rule.grid=99999999999999999999                    | grid
TRAIN --set rule.temperature_max=NaN                          | temperature_max
TRAIN --set rule.temperature_max=-1                           | temperature_max
TRAIN --set rule.temperature_max=Infinity                     | temperature_max
TRAIN --set rule.temperature_max=1e999                        | temperature_max
TRAIN --set rule.grid=1 --set rule.grid=2                     | rule.grid
TRAIN --set recipe.epochs=2                                   | recipe.epochs
TRAIN --set data.source=cifar10                               | data.source
TRAIN --rule bp --set rule.name=ff                            | rule.name
TRAIN --seed 1 --set seed=3                                   | seed
TRAIN --set network.name=vgg8                                 | network.name
TRAIN --width 2 --set network.width=1                         | network.width
TRAIN --set rule.grid={DEEP}                                  | grid
TRAIN --set rule.grid={DEEP}{DEEP.replace("[", "]")}          | grid
TRAIN --set {DEEP}=1                                          | [[[
TRAIN --set data.classes={DEEP}{DEEP.replace("[", "]")}       | classes
TRAIN --set 'rule.grid={'{"a":' * 1000}'                      | grid
TRAIN --set rule.grid={LONG}                                  | grid
TRAIN --set rule.{LONG}=1                                     | aaaa
TRAIN --set rule.grid={"9" * 5000}                            | grid
TRAIN --set recipe.learning_rate=1e999                        | learning_rate
TRAIN --set recipe.learning_rate=-1                           | learning_rate
TRAIN --set recipe.learning_rate=0                            | learning_rate
TRAIN --set recipe.learning_rate=NaN                          | learning_rate
TRAIN --set recipe.learning_rate=fast                         | learning_rate
TRAIN --set recipe.learning_rate=true                         | learning_rate
TRAIN --set recipe.learning_rate=null                         | learning_rate
TRAIN --set recipe.learning_rate=1e300                        | learning_rate
TRAIN --set recipe.batch_size=1                               | batch_size
TRAIN --set recipe.batch_size=0                               | batch_size
TRAIN --set recipe.batch_size=-64                             | batch_size
TRAIN --set recipe.batch_size=1e30                            | batch_size
TRAIN --set recipe.batch_size=99999999999999999999            | batch_size
TRAIN --set recipe.batch_size=2.5                             | batch_size
TRAIN --set recipe.batch_size=1000                            | batch_size
TRAIN --set recipe.micro_batches=0                            | micro_batches
TRAIN --set recipe.micro_batches=9999                         | micro_batches
TRAIN --set recipe.weight_decay=1e300                           | weight_decay
TRAIN --set rule.label_smoothing=1e300                          | label_smoothing
TRAIN --set recipe.clip=1e999                                   | clip
TRAIN --set recipe.optimizer=lion                             | optimizer
TRAIN --set recipe.momentum=1                                 | momentum
TRAIN --set recipe.weight_decay=-1                            | weight_decay
TRAIN --set recipe.schedule=step                              | schedule
TRAIN --set recipe.warmup=1                                   | warmup
TRAIN --set recipe.clip=0                                     | clip
TRAIN --set recipe.precision=fp8                              | precision
TRAIN --set recipe.crop=-1                                    | crop
TRAIN --set recipe.crop=4                                     | crop
TRAIN --set recipe.flip=maybe                                 | flip
TRAIN --set recipe.flip=true                                  | flip
TRAIN --set recipe.cutout=-1                                  | cutout
TRAIN --set recipe.cutout=4                                   | cutout
TRAIN --set recipe.steps=0                                    | steps
TRAIN --set recipe.checkpointing=2                            | checkpointing
TRAIN --set recipe.step_per_block=maybe                       | step_per_block
TRAIN --set recipe.foo=1                                      | foo
TRAIN --set data.classes=1                                    | classes
TRAIN --set data.classes=0                                    | classes
TRAIN --set data.classes=2.5                                  | classes
TRAIN --set 'data.classes=[0,1]'                              | classes
TRAIN --set data.classes=100                                  | classes
TRAIN --set data.num_train=0                                  | num_train
TRAIN --set data.num_train=2                                  | num_train
TRAIN --set data.num_train=1e30                               | num_train
TRAIN --set data.num_test=-1                                  | num_test
TRAIN --set data.validation=1                                 | validation
TRAIN --set data.validation=-0.1                              | validation
TRAIN --set data.validation=0.9999                            | training samples
TRAIN --set data.seed=x                                       | seed
TRAIN --set data.seed=-1                                      | seed
TRAIN --set data.labels=coarse                                | labels
TRAIN --set data.image_size=8                                 | image_size
TRAIN --set data.draw=within                                  | draw
TRAIN --set data.draw=odd                                     | draw
TRAIN --set data.superclass=1                                 | superclass
TRAIN --set data.compose=side                                 | compose
TRAIN --set data.held_out=1                                   | held_out
TRAIN --set data.teacher.foo=1                                | foo
TRAIN --set data.teacher=1                                    | teacher
TRAIN --set data.teacher.dim=0                                | dim
TRAIN --set network.depth=0                                   | depth
TRAIN --set network.depth=-2                                  | depth
TRAIN --set network.depth=1000000                             | depth
TRAIN --set network.hidden=0                                  | hidden
TRAIN --set network.hidden=-5                                 | hidden
TRAIN --set network.hidden=1.5                                | hidden
TRAIN --set network.hidden=99999999999999999999               | hidden
TRAIN --set network.norm=odd                                  | norm
TRAIN --set network.foo=1                                     | foo
TRAIN --set network.seed=1                                    | seed
TRAIN --set network.channels_last=2                           | channels_last
TRAIN --set network.fused=maybe                               | fused
TRAIN --set network.compile=1.5                               | compile
TRAIN --set judged_on=train                                   | judged_on
TRAIN --set judged_on=validation --set data.validation=0      | validation
TRAIN --set protocol=2                                        | protocol
TRAIN --set rule.seed=1                                       | seed
TRAIN --set rule.num_classes=1                                | num_classes
TRAIN --rule bp --set rule.of=nothing                         | nothing
TRAIN --rule bp --set rule.of=4                               | 4
TRAIN --rule bp --set rule.of=bp                              | bp
TRAIN --rule segmented --set rule.segment_size=0              | segment_size
TRAIN --blocks frozn                                          | frozn
TRAIN --blocks '9 local'                                      | 9
TRAIN --blocks '1 frozen' --rule segmented                    | segmented
TRAIN --start away                                            | away
TRAIN --start afile                                           | afile
TRAIN --start mine.py                                         | mine.py
TRAIN --start away --set network.start=gone                   | network.start
TRAIN --set network.start=5                                   | start
TRAIN --set network.frozen=[9]                                | 9
TRAIN --set network.frozen=[-1]                               | frozen
TRAIN --set network.frozen=all                                | frozen
TUNE --set network.start=away                                 | away
IMAGES --set data.classes=5                | classes
IMAGES --set 'data.classes=["cat","cow"]'  | cow
IMAGES --set 'data.classes=["cat","cat"]'  | cat
IMAGES --set 'data.classes=[0,7]'          | 7
IMAGES --set data.labels=fine              | fine
IMAGES --set data.num_train=1000           | num_train
IMAGES --set data.num_test=1000            | num_test
IMAGES --set data.image_size=0             | image_size
IMAGES --set data.image_size=100000        | image_size
IMAGES --set data.superclass=9             | superclass
IMAGES --set data.draw=across              | draw
IMAGES --set data.compose=under            | compose
IMAGES --set data.teacher.dim=4            | teacher
train --data images --epochs 1 --network cnn4                   | batch_size

check                                                           | rule
check nothing                                                   | nothing
check ''                                                        | rule
check nothing.py:Mine                                           | nothing.py
check mine.py:Other                                             | Other
check mine.py                                                   | mine.py
check class-goodness extra                                              | extra
check class-goodness --set rule.grids=4                                 | grids
check class-goodness --set rule.grid=four                               | grid
check class-goodness --set network.depth=2                              | network.depth
check class-goodness --set rule.grid                                    | rule.grid
check class-goodness --set rule.grid=1 --set rule.grid=2                | rule.grid
check class-goodness --foo                                              | --foo

list everything                                                 | everything
list ''                                                         | list
list rules data                                                 | data
list --foo                                                      | --foo

show nothing                                                    | nothing
show ''                                                         | show
show ../runs                                                    | ../runs
show '*'                                                        | *
show {LONG}                                                     | aaaa
show --out nowhere                                              | nowhere
show --out afile                                                | afile
show --out ''                                                   | --out
show --out {LONG}                                               | aaaa
show a b                                                        | b
show --foo                                                      | --foo

study nothing                                                   | nothing
study ''                                                        | study
study accuracy --size tiny                                      | tiny
study accuracy --rules nothing                                  | nothing
study accuracy --rules ''                                       | rule
study accuracy --rules ,                                        | rule
study accuracy --rules bp                                       | bp
study accuracy --rules mine.py:Other                            | Other
study accuracy --seeds 0                                        | seeds
study accuracy --seeds 1e9                                      | seeds
study accuracy --seeds 1000000000                               | seeds
study depth --data teacher_student                              | vectors
study accuracy --data nowhere                                   | nowhere
study accuracy --data ''                                        | data
study accuracy --data empty                                     | empty
study accuracy --data afile                                     | afile
study accuracy --data parquet,nowhere                           | num_train
study accuracy --workers 0                                      | workers
study accuracy --workers 1000000                                | workers
study accuracy --ray nowhere:1 --dry-run                        | ray
study accuracy --device gpu                                     | gpu
study accuracy --device cuda:9                                  | cuda:9
study accuracy --out ''                                         | --out
study accuracy --out afile                                      | afile
study accuracy depth                                            | depth
study --foo                                                     | --foo
study hierarchy --data images                                   | images
study classes --data images                                     | classes

claims --rule nothing                                           | nothing
claims --rule ''                                                | rule
claims --claim P99                                              | P99
claims --claim ''                                               | claim
claims --file nowhere.yaml                                      | nowhere.yaml
claims --file empty                                             | empty
claims --file ''                                                | file
claims --file afile                                             | afile
claims --file empty.yaml                                        | empty.yaml
claims --file list.yaml                                         | list.yaml
claims --file broken.yaml                                       | broken.yaml
claims --file deep.yaml                                         | deep.yaml
claims --file latin.yaml                                        | latin.yaml
claims --file twice.yaml                                        | claims
claims --file other.yaml                                        | foo
claims --file none.yaml                                         | none.yaml
claims --file noid.yaml                                         | noid.yaml
claims --file {LONG}                                            | aaaa
claims --alpha 0                                                | alpha
claims --alpha 1                                                | alpha
claims --alpha -1                                               | alpha
claims --alpha nan                                              | alpha
claims --alpha x                                                | alpha
claims --accuracies --alpha 0.1                                 | alpha
claims --out afile                                              | afile
claims --format pdf                                             | pdf
claims --format ''                                              | format
claims --format md --json                                       | --json
claims --format md --accuracies                                 | --accuracies
claims extra                                                    | extra

report --out nowhere                                            | nowhere
report --out afile                                              | afile
report --out empty                                              | empty
report --out ''                                                 | --out
report --format pdf                                             | pdf
report --format ''                                              | format
report --claims nowhere.yaml                                    | nowhere.yaml
report --claims twice.yaml                                      | claims
report --claims afile                                           | afile
report extra                                                    | extra

cite --out nowhere                                              | nowhere
cite --out afile                                                | afile
cite --out empty                                                | empty
cite --out ''                                                   | --out
cite --rule nothing                                             | nothing
cite --rule ''                                                  | rule
cite --rule class-goodness,fff                                          | fff
cite --rule nothing.py:Mine                                     | nothing.py
cite --rule mine.py:Other                                       | Other
cite --rule {LONG}                                              | aaaa
cite --data nowhere                                             | nowhere
cite --data ''                                                  | data
cite --all --rule ff                                            | --all
cite --all --out runs                                           | --out
cite --data mnist --out runs                                    | --out
cite --format pdf                                               | pdf
cite --format ''                                                | format
cite --foo                                                      | --foo
cite extra                                                      | extra

cost --size tiny                                                | tiny
cost --rules nothing                                            | nothing
cost --rules ''                                                 | rule
cost --rules mine.py:Other                                      | Other
cost --modes fast                                               | fast
cost --modes micro-0                                            | micro-0
cost --modes micro-x                                            | micro-x
cost --modes micro-1000000                                      | micro-1000000
cost --modes ''                                                 | modes
cost --part everything                                          | everything
cost --part ''                                                  | part
cost --memory lots                                              | lots
cost --memory 0MB                                               | memory
cost --memory -1GB                                              | memory
cost --memory nanGB                                             | memory
cost --memory 1e999GB                                           | memory
cost --memory 1MB --part methods                                | memory
cost --repeats 0                                                | repeats
cost --repeats -1                                               | repeats
cost --repeats 1000000000                                       | repeats
cost --repeats 99999999999999999999                             | repeats
cost --repeats 2.5                                              | repeats
cost --repeats many                                             | repeats
cost --repeats ''                                               | repeats
cost --repeats 4 --part scaling                                 | repeats
cost --rounds 0                                                 | rounds
cost --rounds -1                                                | rounds
cost --rounds 1000000000                                        | rounds
cost --rounds 2.5                                               | rounds
cost --rounds 4 --part budget                                   | rounds
cost --network nothing                                          | nothing
cost --network cnn4 --width 0 --part methods                    | width
cost --network cnn4 --width inf --part methods                  | width
cost --network cnn4 --depth 0 --part methods                    | depth
cost --network cnn4 --depth 1000000 --part methods              | depth
cost --network cnn4 --image-size 0 --part methods               | image
cost --network cnn4 --image-size 100000000 --part methods       | image_size
cost --network cnn4 --batch-size 1 --part methods               | batch
cost --network cnn4 --batch-size 1e9 --part methods             | batch
cost --network cnn4 --classes 1 --part methods                  | classes
cost --network cnn4 --precision int8 --part methods             | precision
cost --device gpu                                               | gpu
cost --device cuda                                              | cuda
cost --threads 0                                                | threads
cost --threads 100000                                           | threads
cost --out ''                                                   | --out
cost --out afile                                                | afile
cost extra                                                      | extra

tune --foo                                                      | --foo
TUNE --rules nothing                                          | nothing
TUNE --rules ''                                               | rule
TUNE --rules bp                                               | bp
TUNE --rules mine.py:Other                                    | Other
TUNE --space rule.grid                                        | rule.grid
TUNE --space ''                                               | space
TUNE --space rule.grid=                                       | rule.grid
TUNE --space rule.grid=1                                      | rule.grid
TUNE --space rule.grid=1,1                                    | rule.grid
TUNE --space rule.grid=1,1.0                                  | rule.grid
TUNE --space rule.grid=1,,2                                   | rule.grid
TUNE --space rule.grid=NaN,1                                  | rule.grid
TUNE --space recipe.learning_rate=NaN,0.1                     | learning_rate
TUNE --space recipe.learning_rate=nan:1                       | learning_rate
TUNE --space recipe.learning_rate=log:nan:nan                 | learning_rate
TUNE --space recipe.learning_rate=0.1:inf                     | learning_rate
TUNE --space recipe.learning_rate=1:0.1                       | learning_rate
TUNE --space recipe.learning_rate=log:0:0.1                   | learning_rate
TUNE --space recipe.learning_rate=log:0.1                     | learning_rate
TUNE --space recipe.learning_rate=a:b                         | learning_rate
TUNE --space recipe.learning_rate=0.1:1e999                   | learning_rate
TUNE --space recipe.learning_rate=1:2:3                       | learning_rate
TUNE --space recipe.learning_rate=-1:-0.5                     | learning_rate
TUNE --space recipe.foo=0:1                                   | foo
TUNE --space foo=0:1                                          | foo
TUNE --space ff/rule.grid=1,2                                 | ff/rule.grid
TUNE --space rule.grids=1,2                                   | grids
TUNE --space rule.grid={DEEP},1                               | rule.grid
TUNE --space rule.grid=1e999,1                                | rule.grid
TUNE --space seed=1,2                                         | seed
TUNE --space judged_on=test,validation                        | judged_on
TUNE --space recipe.epochs=1,2                                | recipe.epochs
TUNE --space rule.grid=1,2 --space rule.grid=1,2              | rule.grid
TUNE --space rule.grid=1,2 --set rule.grid=4                  | rule.grid
TUNE --space rule.fusion=1,2                                  | fusion
TUNE --trials 0                                               | trials
TUNE --trials x                                               | trials
TUNE --trials 99999999999999999999                            | trials
TUNE --seeds 0                                                | seeds
TUNE --seeds 1e9                                              | seeds
TUNE --seeds 99999999999999999999                             | seeds
TUNE --sampler grid                                           | grid
TUNE --set data.validation=0                                  | validation
TUNE --set judged_on=test                                     | judged_on
TUNE --set seed=1                                             | seed
TUNE --set rule.grid={DEEP}                                   | grid
TUNE --set rule.grid=2 --set rule.grid=3                      | rule.grid
TUNE --set recipe.epochs=2                                    | recipe.epochs
TUNE --seed -1                                                | seed
TUNE --seed 99999999999999999999                              | seed
TUNE --workers 0                                              | workers
TUNE --workers 1000000                                        | workers
TUNE --device gpu                                             | gpu
TUNE --ray nowhere:1 --dry-run                                | ray
TUNE --out ''                                                 | --out
TUNE --out afile                                              | afile
tune --data nowhere                                             | nowhere
tune --data empty                                               | empty
tune --network nothing                                          | nothing
tune --width 0                                                  | width
tune --epochs 0                                                 | epochs

export                                                          | run
export nothing --torch m.pt2                                    | nothing
export '' --torch m.pt2                                         | run
export 0 --torch                                                | --torch
export nothing                                                  | --onnx
export RUN                                                      | --onnx
export RUN --torch ''                                           | --torch
export RUN --torch empty                                        | empty
train --config nowhere.yaml                                     | nowhere.yaml
train --config images                                           | images
train --config list.yaml                                        | list.yaml
train --config deep.yaml                                        | deep.yaml
train --config latin.yaml                                       | latin.yaml
train --config afile                                            | afile
train --config runs/RUN                                         | runs
train --config ''                                               | --config
train --config {LONG}                                           | aaaa
study depth --config list.yaml                                  | list.yaml
study --config afile                                            | afile
audit --config latin.yaml                                       | latin.yaml
tune --config ''                                                | --config
TRAIN --logger cvs                                              | cvs
TRAIN --logger ''                                               | logger
export RUN --torch afile                                        | afile
export RUN --torch afile/m.pt2                                  | afile
export RUN --torch {LONG}                                       | aaaa
export RUN --torch m.x --onnx m.x                               | two formats
export RUN --out nowhere --torch m.pt2                          | nowhere
export RUN --out afile --torch m.pt2                            | afile
export RUN extra --torch m.pt2                                  | extra
"""

CASES = [
    pytest.param(shlex.split(words), culprit.strip(), id=words.strip()[:90])
    for words, _, culprit in (line.rpartition("|") for line in TABLE.strip().splitlines() if line.strip())
]


@pytest.mark.parametrize(("words", "culprit"), CASES)
def test_a_bad_word_is_one_sentence(refuse, inside, words, culprit):
    run = (inside / "run.txt").read_text()
    assert culprit in refuse(*(run if word == "RUN" else word for word in expand(words)))


NOT_TEXT = "caf\udce9"
"""The bytes of ``café`` in Latin-1, as Python reads them on a machine of UTF-8."""


@pytest.mark.parametrize(
    "words",
    [
        ("audit", "--out", NOT_TEXT),
        ("audit", "--rule", NOT_TEXT),
        ("audit", "--data", NOT_TEXT),
        ("TRAIN", "--out", NOT_TEXT),
        ("TRAIN", "--rule", NOT_TEXT),
        ("TRAIN", "--rule", f"{NOT_TEXT}.py:Mine"),
        ("TRAIN", "--set", f"rule.grid={NOT_TEXT}"),
        ("TRAIN", "--set", f"rule.{NOT_TEXT}=1"),
        ("train", "--data", NOT_TEXT),
        ("train", "--data", f"./{NOT_TEXT}"),
        ("train", "--network", NOT_TEXT),
        ("check", NOT_TEXT),
        ("list", NOT_TEXT),
        ("show", NOT_TEXT),
        ("show", "--out", NOT_TEXT),
        ("study", NOT_TEXT),
        ("study", "accuracy", "--data", NOT_TEXT),
        ("claims", "--file", NOT_TEXT),
        ("claims", "--claim", NOT_TEXT),
        ("report", "--out", NOT_TEXT),
        ("cost", "--rules", NOT_TEXT),
        ("TUNE", "--space", f"rule.grid={NOT_TEXT},1"),
        ("export", NOT_TEXT, "--torch", "m.pt2"),
        ("export", "RUN", "--torch", NOT_TEXT),
        (NOT_TEXT,),
    ],
)
def test_a_word_that_is_no_text_is_one_sentence(refuse, words):
    assert "caf\\xe9" in refuse(*expand(words))


NUL = '"a\\u0000b"'


@pytest.mark.parametrize(
    ("words", "culprit"),
    [
        (("TRAIN", "--set", f"data.labels={NUL}"), "labels"),
        (("train", "--data", "images", "--set", f"data.labels={NUL}"), "a\\x00b"),
        (("TRAIN", "--rule", "bp", "--set", f"rule.of={NUL}"), "a\\x00b"),
        (("TRAIN", "--rule", "a\x00b"), "a\\x00b"),
        (("TRAIN", "--out", "a\x00b"), "a\\x00b"),
        (("train", "--data", "a\x00b"), "a\\x00b"),
        (("show", "a\x00b"), "a\\x00b"),
        (("show", "--out", "a\x00b"), "a\\x00b"),
        (("report", "--out", "a\x00b"), "a\\x00b"),
        (("claims", "--file", "a\x00b"), "a\\x00b"),
        (("check", "a\x00b.py:Mine"), "a\\x00b"),
    ],
)
def test_a_nul_is_one_sentence(refuse, words, culprit):
    assert culprit in refuse(*expand(words))
