"""What the adapters share: a checkout of others' code, run on the CPU, without the packages that only its data and logs need."""

import os
import subprocess
import sys
import textwrap
import types
from collections.abc import Callable
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import torch
from torch import nn


class Absent(types.ModuleType):
    """A package that is not there: each name in it is an empty class, but for those given."""

    __all__: tuple[str, ...] = ()

    def __init__(self, name: str, **names: Any) -> None:
        super().__init__(name)
        self.__spec__ = ModuleSpec(name, None)
        sys.modules[name] = self
        vars(self).update(names)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


class Batches(list):
    """Batches held in memory, where their code has a loader; ``dataset`` is as long as all of them."""

    @property
    def dataset(self) -> range:
        """For its length."""
        return range(sum(len(batch[-1]) for batch in self))


def use(name: str, commit: str, folder: str = "", absent: str = "", arguments: str = "") -> Path:
    """The folder of a checkout at one commit, ready to be imported from.

    Args:
        name: of the checkout, in the folder that LAYERLOCAL_FOREIGN names.
        commit: it must be at.
        folder: in it, where their script runs.
        absent: packages to replace by empty ones.
        arguments: of their command line.
    """
    root = Path(os.environ.get("LAYERLOCAL_FOREIGN", "checkouts"), name).resolve()
    told = subprocess.run(["git", "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    if told.stdout.strip() != commit:
        raise FileNotFoundError(f"{root} must be a checkout of commit {commit} (examples/foreign/README.md says how)")
    for package in absent.split():
        Absent(package)
    sys.path.insert(0, str(root / folder))
    sys.argv = [name, *arguments.split()]
    torch.Tensor.cuda = nn.Module.cuda = lambda self, *_, **__: self  # type: ignore[assignment,method-assign]
    torch.manual_seed(0)
    return root / folder


def lines(path: Path, first: int, last: int, names: dict[str, Any]) -> Callable[[], None]:
    """Lines of a file of theirs as they stand, as a function: it runs them where ``names`` are the names they know and make."""
    text = textwrap.dedent("\n".join(path.read_text().splitlines()[first - 1 : last]))
    code = compile("\n" * (first - 1) + text, str(path), "exec")
    return lambda: exec(code, names)
