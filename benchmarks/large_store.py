"""What the commands that read a store cost where it has many runs: CPU seconds and memory, of planted runs that nobody trained.

    python benchmarks/large_store.py                    # 20,000 runs: some minutes, of which planting takes most; writes nothing
    python benchmarks/large_store.py --runs 2000 --json FILE

Every run is a whole folder with the sums in DONE; among them are the runs of a quick study and of a quick audit, so that both are concluded.
CPU seconds are those of the command's own process, user and system together: they say what a machine has to do, also where others use it.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from layerlocal.experiments.audit.plan import AuditPlan, accuracy_specs, class_specs
from layerlocal.experiments.stored import audit_place, study_place
from layerlocal.experiments.studies import find_study
from layerlocal.experiments.studies.base import StudyPlan, plan_runs
from layerlocal.runs.environment import describe_environment

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from planted_store import plant_run, plant_store  # (made-up results live among the tests)


def plant(store, runs):
    """So many planted runs, with a study and an audit among them; the name of one is given back."""
    study, audit = StudyPlan(study="accuracy", data=("fashion_mnist_subset",)), AuditPlan()
    specs = [*plan_runs(find_study(study.study), study).values(), *accuracy_specs(audit).values()]
    planned = {spec.hash: spec for spec in [*specs, *class_specs(audit).values()]}
    if len(planned) > runs:
        raise SystemExit(
            f"error: --runs {runs} is less than the study and the audit have; give {len(planned)} at least"
        )
    for spec in planned.values():
        plant_run(store, spec)
    study_place(store, study.study, study.size).plan.write(study)
    audit_place(store, audit.size).plan.write(audit)
    plant_store(store, runs - len(planned))
    return next(iter(planned))


def commands(store, name):
    """Name → the words of a command, after ``layerlocal``."""
    out = ["--out", str(store)]
    return {
        "--help": ["--help"],
        "list rules": ["list", "rules"],
        "audit --dry-run": ["audit", "--dry-run", *out],
        "study --dry-run": ["study", "accuracy", "--data", "fashion_mnist_subset", "--dry-run", *out],
        "tune --dry-run": ["tune", "--dry-run", *out],
        "show HASH": ["show", name, *out],
        "first show": ["show", *out],
        "show": ["show", *out],
        "show --limit 20": ["show", "--limit", "20", *out],
        "claims": ["claims", *out],
        "report": ["report", *out],
    }


WATCH = """
import json, os, sys
quiet = [(os.POSIX_SPAWN_OPEN, number, os.devnull, os.O_WRONLY, 0) for number in (1, 2)]
_, status, used = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ, file_actions=quiet), 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime, used.ru_maxrss * 1024 / 1e6]))
"""
"""A process of its own, since the system counts the memory of whoever starts a process as that one's too."""


def measured(words):
    """CPU seconds and peak resident MB of one command, which must succeed."""
    command = [sys.executable, "-S", "-c", WATCH, sys.executable, "-m", "layerlocal", *words]
    code, seconds, memory = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    if code:
        raise SystemExit(f"error: layerlocal {' '.join(words)} ended with exit code {code}")
    return {"cpu_seconds": round(seconds, 2), "peak_mb": round(memory)}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--json", type=Path, help="write the numbers there")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        store = Path(folder) / "runs"
        name = plant(store, given.runs)
        found = {}
        for command, words in commands(store, name).items():
            found[command] = measured(words)
            print(
                f"{command:<18}{found[command]['cpu_seconds']:7.2f} CPU s {found[command]['peak_mb']:6d} MB", flush=True
            )
    if given.json:
        whole = {"runs": given.runs, "commands": found, "environment": describe_environment("cpu")}
        given.json.write_text(json.dumps(whole, indent=1) + "\n")


if __name__ == "__main__":
    main()
