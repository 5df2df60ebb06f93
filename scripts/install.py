"""Install the project into the Python that runs this file, with a build of PyTorch that fits the machine; `make` calls it.

    python scripts/install.py [EXTRA ...]

The version of PyTorch is that of ``constraints.txt``. Which build of it:

- one that is installed already stays;
- with an NVIDIA GPU: what pip finds, on the public index the CUDA build;
- without one: the CPU build of PyTorch's own index, where that answers within seconds; otherwise what pip finds.

One line says which. Needs the standard library only.
"""

from __future__ import annotations

import importlib.metadata
import re
import shutil
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CPU_INDEX = "https://download.pytorch.org/whl/cpu"
PATIENCE = 8.0
"""Seconds that the index has to answer, from the look-up of its name to the last byte of its page."""
LARGE = "for Linux the public index has only the CUDA build: about 2.4 GB to fetch, 6.3 GB installed"


@dataclass(frozen=True)
class Plan:
    """One line about PyTorch, and the calls of pip: the last one, and before it one that may fail."""

    says: str
    install: list[str]
    before: list[str] | None = None


def pinned_torch(constraints: Path = ROOT / "constraints.txt") -> str:
    """The version of PyTorch that ``constraints.txt`` asks for."""
    found = re.search(r"^torch==(\S+)$", constraints.read_text(), re.MULTILINE)
    if found is None:
        raise SystemExit(f"{constraints} names no version of torch; write a line such as torch==2.13.0")
    return found[1]


def installed_torch() -> str | None:
    """The version that is here, with its build (``2.13.0+cpu``)."""
    try:
        return importlib.metadata.version("torch")
    except importlib.metadata.PackageNotFoundError:
        return None


def has_nvidia_gpu(devices: Path = Path("/dev")) -> bool:
    """Whether there is a device file ``nvidia0``, or ``nvidia-smi`` lists a GPU."""
    if any(devices.glob("nvidia[0-9]*")):
        return True
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return False
    try:
        found = subprocess.run([tool, "-L"], capture_output=True, text=True, errors="replace", timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return found.returncode == 0 and "GPU " in found.stdout


def index_answers(index: str, torch: str, patience: float = PATIENCE) -> bool:
    """Whether the page of PyTorch on a package index comes within ``patience`` seconds and has that version.

    A page of something else, as a hotel's network sends it, is no answer. The look-up of a name obeys no time limit of its own: a thread
    that is left behind does the work.
    """
    answers: list[bool] = []

    def look() -> None:
        try:
            with urllib.request.urlopen(f"{index}/torch/", timeout=patience) as page:
                text = urllib.parse.unquote(page.read().decode(errors="replace"))
        except (OSError, ValueError):  # no network, a refusal, a certificate; an answer that is no HTTP
            return
        except Exception:  # http.client's own: half an answer
            return
        answers.append(f"torch-{torch}" in text)

    worker = threading.Thread(target=look, daemon=True)
    worker.start()
    worker.join(patience)
    return any(answers)


def make_plan(extras: list[str], *, pinned: str, installed: str | None, gpu: bool, index: str | None) -> Plan:
    """What to call.

    Args:
        extras: of ``pyproject.toml``.
        pinned: the version of PyTorch that is wanted.
        installed: the one that is here.
        gpu: whether there is an NVIDIA GPU.
        index: the index of CPU builds, where it answers.
    """
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    project = f"{ROOT}[{','.join(extras)}]" if extras else str(ROOT)
    install = [*pip, "--constraint", str(ROOT / "constraints.txt"), "--editable", project]
    if installed is not None and installed.partition("+")[0] == pinned:
        return Plan(f"torch {installed}: it is installed already", install)
    if gpu:
        return Plan(f"torch {pinned}: what pip finds, for the NVIDIA GPU here (from the public index: CUDA)", install)
    if index is not None:
        first = [*pip, "--index-url", index, f"torch=={pinned}"]
        return Plan(f"torch {pinned}: the CPU build of {index}, as there is no NVIDIA GPU here", install, first)
    return Plan(f"torch {pinned}: what pip finds, as {CPU_INDEX} does not answer ({LARGE})", install)


def main(extras: list[str]) -> int:
    """Install; the exit status of pip."""
    pinned, installed = pinned_torch(), installed_torch()
    here = installed is not None and installed.partition("+")[0] == pinned
    gpu = not here and has_nvidia_gpu()
    index = CPU_INDEX if not here and not gpu and index_answers(CPU_INDEX, pinned) else None
    plan = make_plan(extras, pinned=pinned, installed=installed, gpu=gpu, index=index)
    print(plan.says, flush=True)
    if plan.before is not None and subprocess.run(plan.before, check=False).returncode != 0:
        print(f"torch {pinned}: that failed, so what pip finds ({LARGE})", flush=True)
    return subprocess.run(plan.install, check=False).returncode


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
