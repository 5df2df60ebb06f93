"""The weights that a network starts from: of a module, or of a file. Nothing is unpickled."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from layerlocal.files import read_weights, weights_file
from layerlocal.networks.base import Network
from layerlocal.spec import NetworkSpec
from layerlocal.types import InputError, first_line, shown

__all__ = ["load_weights", "ready"]

PICKLES = (".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".tar")
TYPES = {
    1: torch.uint8, 2: torch.int8, 3: torch.int16, 4: torch.int32, 5: torch.int64, 6: torch.float16, 7: torch.float32, 8: torch.float64,
    12: torch.bool, 13: torch.bfloat16,
}  # fmt: skip
"""Types of tensors by their number in a `torch.export` file."""
SHOWN = 3


def load_weights(network: Network, start: nn.Module | str | os.PathLike[str], *, sha256: str | None = None) -> Network:
    """Give a network the weights and buffers of something that was trained; it is changed in place, and only when all of them fit.

    What the start has besides, such as a head, readouts or later blocks, is left out.

    Args:
        network: float32.
        start: a network, a rule, what `Rule.to_module` gives, or the module that the network was cut from (`Network.from_module`); or a file of
            the weights of one of these: safetensors, a ``torch.export`` program (``.pt2``), or the folder of a run, whose checkpoint it is.
        sha256: refuse another file.

    Raises:
        InputError: no such file, one that is a pickle, weights that are missing or of another shape.

    Example:
        >>> from layerlocal.networks import create_network
        >>> one, two = (create_network("mlp", in_channels=8, image_size=1, seed=seed) for seed in (0, 1))
        >>> torch.equal(load_weights(two, one)(torch.ones(2, 8)), one(torch.ones(2, 8)))
        True
    """
    if isinstance(start, nn.Module):
        what, given = f"the {type(start).__name__} to start from", dict(start.state_dict())
    elif isinstance(start, str | os.PathLike):
        what, given = os.fspath(start), _read(Path(start), sha256)
    else:
        raise InputError(f"a network starts from a module or a file, got {shown(start)}; give one of these")
    wanted = network.state_dict()
    found = _found_in(network, what, wanted, given)
    for name, tensor in found.items():
        if tensor.shape != wanted[name].shape:
            raise InputError(
                f"{what} has {name.removeprefix('blocks.')} of block{name.split('.')[1]} in shape {tuple(tensor.shape)}, and the network's is "
                f"{tuple(wanted[name].shape)}; make the network with the sizes of the start"
            )
    with torch.no_grad():
        for name, tensor in found.items():
            wanted[name].copy_(tensor)
    network.started = True
    return network


def ready(network: Network, spec: NetworkSpec, *, start: bool = True) -> Network:
    """A fresh network with the weights and the frozen blocks of its spec.

    Args:
        network: as `create_network` made it by the spec.
        spec: says where it starts and what is frozen.
        start: ``False`` reads no weights.

    Raises:
        InputError: what `load_weights` and `Network.freeze` refuse.
    """
    if spec.start is not None and start:
        load_weights(network, spec.start, sha256=spec.start_sha256)
        network.resized = None  # another width has no such weights
    return network.freeze(spec.frozen or ())


def _found_in(
    network: Network, what: str, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Each tensor of the network in what is given, by the first way of naming that has the most of them."""
    ways: list[Callable[[str], str]] = [
        lambda name: name, lambda name: f"network.{name}", lambda name: f"rule/network.{name}",
        lambda name: name.replace("blocks.", "blocks.block", 1), lambda name: network.names_in_module.get(name, ""),
    ]  # fmt: skip
    way = max(ways, key=lambda way: sum(way(name) in given for name in wanted))
    missing = [name for name in wanted if way(name) not in given]
    if len(missing) == len(wanted) > 0:
        raise InputError(
            f"{what} has none of the network's weights, which are {_few(wanted)}{_or_cut(network)}; it has {_few(given)}; give weights by the "
            "names that they have there"
        )
    if missing:
        raise InputError(
            f"{what} has no {way(missing[0]) or missing[0]!r}, which block{missing[0].split('.')[1]} needs; make the network with the sizes "
            "of the start"
        )
    return {name: given[way(name)] for name in wanted}


def _few(names: Mapping[str, Any]) -> str:
    few = [repr(name) for name in list(names)[:SHOWN]]
    return ", ".join([*few, "…"] if len(names) > SHOWN else few) or "none"


def _or_cut(network: Network) -> str:
    return (
        f", or in the module that it was cut from {_few(dict.fromkeys(network.names_in_module.values()))}"
        if network.names_in_module
        else ""
    )


def _read(path: Path, sha256: str | None) -> dict[str, Tensor]:
    """The tensors of a file, by name."""
    from safetensors import SafetensorError
    from safetensors.torch import load

    file, content = weights_file(path), read_weights(path)
    if sha256 is not None and hashlib.sha256(content).hexdigest() != sha256:
        raise InputError(f"the weights {path} have changed since this run was planned; run the command again")
    if file.suffix.lower() in PICKLES:
        raise InputError(
            f"{path} is a pickle, which may run code as it is read; where you trust it, read it with weights_only=True and write it anew with "
            "save_file of safetensors.torch"
        )
    if file.suffix.lower() == ".onnx":
        raise InputError(
            f"{path} is an ONNX file, whose weights may be folded into one another; give the .pt2 or the run's folder"
        )
    try:
        return _of_program(content) if zipfile.is_zipfile(io.BytesIO(content)) else load(content)
    except (SafetensorError, ValueError, KeyError, TypeError, zipfile.BadZipFile, RuntimeError) as error:
        raise InputError(
            f"{path} holds no weights: {first_line(error)}; give a safetensors file, a .pt2 or a run's folder"
        ) from error


def _of_program(content: bytes) -> dict[str, Tensor]:
    """Of a `torch.export` program: its plain tensors, which are bytes beside a table in JSON."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        names = {name.partition("/")[2]: name for name in archive.namelist()}
        table = names.get("data/weights/model_weights_config.json")
        if table is None:
            raise ValueError("no table of weights in it")
        found = {}
        for name, entry in json.loads(archive.read(table))["config"].items():
            if entry["use_pickle"]:
                raise ValueError(f"{name} is a pickle")
            meta = entry["tensor_meta"]
            plain = torch.frombuffer(
                bytearray(archive.read(names[f"data/weights/{entry['path_name']}"])), dtype=TYPES[meta["dtype"]]
            )
            sizes, strides = ([size["as_int"] for size in meta[key]] for key in ("sizes", "strides"))
            found[name] = plain.as_strided(sizes, strides, meta["storage_offset"]["as_int"])
        return found
