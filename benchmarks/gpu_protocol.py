"""All that needs a GPU, in one command that keeps to its time: `make gpu`, or

    python benchmarks/gpu_protocol.py --data DIR --out DIR   # at most 9 minutes on one GPU, then it exits
    python benchmarks/gpu_protocol.py --smoke                # the same on the CPU in two minutes; tiny, numbers without meaning
    python benchmarks/gpu_protocol.py --pack DIR --data DIR  # here: CIFAR in pieces that can be carried; there: --data of the pieces
    python benchmarks/gpu_protocol.py --summary FILE         # what is in the results of an earlier call

Three parts, each in what the ones before it have left (`--parts`): *tests* with the mark ``gpu``; *speed*: samples/s and allocated bytes of a
step of every rule against backprop, taking turns (``--compile`` for some of them compiled, which takes minutes); *accuracy*: CIFAR-10 and
CIFAR-100 on `speedrun` at width 1 with the recipe of arXiv:2404.00498, seed after seed as long as there is time.

Seconds are those of training steps, batches and augmentation included, after a few steps that are not counted; after each epoch, outside of
the clock, accuracy on 2,500 held-out training images, plain and with the test-time augmentation of the paper (mirrored, shifted by a pixel).
A time to 90 % is the seconds up to the end of the first epoch with as much; one schedule serves all, so a shorter one may well get there
sooner. Test images are read once, at the end. Each result is a line of DIR/gpu_protocol.jsonl as soon as it is there, so that a cut loses
nothing. Needs torch and the other packages of pyproject.toml; no network, given the data.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import time
import warnings
from pathlib import Path

import torch
from command import run_main, typed
from gpu_accuracy import METHODS, TARGETS, runs
from gpu_data import NAMES, pack
from gpu_speed import speeds
from gpu_summary import summary

from layerlocal.runs.environment import describe_environment
from layerlocal.types import InputError

ROOT = Path(__file__).parents[1]
PARTS = ("tests", "speed", "accuracy")
MOST_OF = {"tests": 0.25, "speed": 0.2}
"""Share of all minutes that a part may take; the last takes the rest."""
STARTING = 0.25
"""Minutes that Python has taken by then, and takes to end."""
MIB = 2**20


class Results:
    """Lines of JSON, each on the disk before anything else is done."""

    def __init__(self, folder):
        self.path = Path(folder) / "gpu_protocol.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)

    def add(self, **row):
        with self.path.open("a") as file:
            file.write(json.dumps(row) + "\n")
            file.flush()
            os.fsync(file.fileno())
        print({key: value for key, value in row.items() if key not in ("epochs", "environment", "tail")}, flush=True)

    def rows(self):
        return [json.loads(line) for line in self.path.read_text().splitlines()]


class Budget:
    """Seconds of a call, and of its parts."""

    def __init__(self, minutes):
        self.start, self.seconds = time.monotonic(), 60 * minutes

    def left(self):
        return self.start + self.seconds - time.monotonic()

    def part(self, name):
        """A budget of its own, of no more than is left."""
        return Budget(min(self.left(), MOST_OF.get(name, 1.0) * self.seconds) / 60)


def tests(budget):
    """Run what has the mark ``gpu``; the row of it."""
    files = [str(path) for path in sorted((ROOT / "tests").rglob("test_*.py")) if "pytest.mark.gpu" in path.read_text()]
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-m",
        "gpu",
        "-q",
        "-p",
        "no:cacheprovider",
        "-o",
        "addopts=",
        "-o",
        "filterwarnings=default",
        *files,
    ]
    paths = os.pathsep.join(filter(None, (str(ROOT / "src"), os.environ.get("PYTHONPATH"))))
    start = time.monotonic()
    try:
        done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": paths},
                              timeout=max(1.0, budget.left()))  # fmt: skip
        code, said = done.returncode, done.stdout + done.stderr
    except subprocess.TimeoutExpired as error:
        said = error.stdout or b""  # bytes, or text in later Pythons
        code, said = None, said.decode(errors="replace") if isinstance(said, bytes) else said
    failed = re.findall(r"^FAILED (\S+)|^ERROR (\S+)", said, re.MULTILINE)
    return {
        "returncode": code,
        "seconds": time.monotonic() - start,
        "failed": ["".join(each) for each in failed],
        "tail": said[-8000:],
    }


def protocol(given, results):
    """Part after part."""
    device = "cpu" if given.smoke else "cuda"
    budget = Budget(given.minutes - STARTING)
    results.add(
        part="start",
        command=typed(),
        minutes=given.minutes,
        smoke=given.smoke,
        environment=describe_environment(device),
    )
    torch.backends.cudnn.benchmark = True
    for part in given.parts:
        here = budget.part(part)
        if part == "tests":
            results.add(part=part, **tests(here))
        elif part == "speed":
            for row in speeds(device, here, precision=given.precision, smoke=given.smoke, compiled=given.compile):
                results.add(part=part, **row)
        else:
            for row in runs(given, device, here):
                results.add(part=part, **row)
    print(summary(results.rows(), TARGETS))


def refuse_no_gpu():
    if not torch.cuda.is_available():
        build = "is a build without CUDA" if torch.version.cuda is None else "finds no GPU here"
        raise InputError(f"torch {torch.__version__} {build}; run it where there is one, or with --smoke on the CPU")


def asked(words=None):
    """The arguments."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("LAYERLOCAL_DATA") or None,
        help="pieces of --pack, or folders cifar10 and cifar100 of Parquet files; default: $LAYERLOCAL_DATA, else the Hub",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=Path(os.environ.get("OUT") or ROOT / "runs"))
    parser.add_argument("--minutes", type=float, help="of the whole call; 9, or 2 with --smoke")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS)
    parser.add_argument("--names", nargs="+", choices=NAMES, default=NAMES, help="data sets")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--seeds", type=int, default=100, help="at most so many, from 0")
    parser.add_argument("--epochs", type=int, help="10, or 1 with --smoke")
    parser.add_argument("--precision", choices=("bf16", "float32"), help="bf16, or float32 with --smoke")
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--pack", type=Path, metavar="DIR", help="write the pieces of --data there, and no more")
    parser.add_argument("--piece-mib", type=float, default=45, help="a piece at most")
    parser.add_argument("--summary", type=Path, metavar="FILE")
    given = parser.parse_args(words)
    given.minutes = given.minutes or (2 if given.smoke else 9)
    given.epochs = given.epochs or (1 if given.smoke else 10)
    given.precision = given.precision or ("float32" if given.smoke else "bf16")
    given.data = given.data and Path(given.data)
    return given


def main():
    given = asked()
    if given.summary:
        print(summary([json.loads(line) for line in given.summary.read_text().splitlines()], TARGETS))
    elif given.pack:
        for path in pack(given.data, given.pack, int(given.piece_mib * MIB), given.names):
            print(f"{path.stat().st_size / MIB:6.1f} MiB  {path}")
    else:
        if not given.smoke:
            refuse_no_gpu()
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="the heads of .* cost more")
            protocol(given, Results(given.out))


if __name__ == "__main__":
    run_main(main)
