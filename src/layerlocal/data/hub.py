"""The Hugging Face Hub, read with `datasets`, whose own cache is put under ours."""

from __future__ import annotations

import functools
import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from layerlocal.data.benchmarks import BenchmarkInfo
from layerlocal.data.columns import column_values, embedded_bytes, number_classes
from layerlocal.data.decode import EncodedImage
from layerlocal.data.split_source import READ_ROWS, OpenSplit, SplitSource
from layerlocal.types import InputError, UnreachableError

__all__ = ["hub_sources"]


def hub_sources(info: BenchmarkInfo, *, cache_dir: Path) -> tuple[SplitSource, SplitSource]:
    """Training and test source of one benchmark; nothing is imported or fetched until a source is opened."""

    def source(split: str) -> SplitSource:
        return SplitSource(
            ["hub", info.hub_id, info.config, split], lambda: _open_hub(info, split, cache_dir=cache_dir)
        )

    return source(info.train_split), source(info.test_split)


def _open_hub(info: BenchmarkInfo, split: str, *, cache_dir: Path) -> OpenSplit:
    """Fetch one split (or find it in the Hub's cache) and read its labels.

    Raises:
        InputError: the Hub or the set on it could not be reached, or its columns are not as the table says.
    """
    _skip_retries()
    import datasets

    try:
        table = datasets.load_dataset(info.hub_id, info.config, split=split, cache_dir=str(cache_dir / "hub"))
    except Exception as error:  # connection, time-out, offline mode, gated, gone: many kinds from several libraries
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UnreachableError(
            f"cannot reach {info.hub_id} on the Hugging Face Hub ({reason[:160]}); connect to the network, or put its Parquet files "
            f"(train-*, {info.test_split}-*.parquet) into a folder {info.name!r} and name the folder around it in LAYERLOCAL_DATA"
        ) from error
    features = table.features
    labels = {name: f for name, f in features.items() if isinstance(f, datasets.ClassLabel)}
    if info.image_column not in features or info.label_column not in labels:
        raise InputError(
            f"{info.hub_id} has the columns {', '.join(features)}, not {info.image_column} and {info.label_column}; "
            "its layout changed: give a folder of Parquet files instead"
        )
    names = {name: list(feature.names) for name, feature in labels.items()}
    found = {name: _class_indices(table, name, f"{info.hub_id} {split}", names[name]) for name in labels}
    if isinstance(refused := found[info.label_column], InputError):
        raise refused
    usable = {name: values for name, values in found.items() if not isinstance(values, InputError)}
    images = table.select_columns([info.image_column]).cast_column(info.image_column, datasets.Image(decode=False))
    return OpenSplit(
        count=len(table),
        labels=usable,
        names={name: names[name] for name in usable},
        read=lambda: _read_hub(images, info, split),
        facts={"revision": _revision(table)},
    )


def _class_indices(table: Any, name: str, where: str, names: list[str]) -> np.ndarray | InputError:
    """One label column, int64 (N,), or why it cannot be used."""
    try:
        values = column_values(table.with_format("arrow")[name][:], name, where=where)
        return number_classes([[values]], name, [names], where=where).labels[0]
    except InputError as error:
        return error


@functools.cache
def _skip_retries() -> None:
    """Where the Hub's host has no address, ask for its offline mode: what was fetched before is found, the rest fails at once.

    Otherwise every set would be retried for 20 seconds. Left alone where a proxy or another endpoint is set.
    """
    if any(
        os.environ.get(name) for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "HF_ENDPOINT", "HF_HUB_OFFLINE")
    ):
        return
    try:
        socket.getaddrinfo("huggingface.co", 443)
    except OSError:
        os.environ["HF_HUB_OFFLINE"] = "1"


def _read_hub(images: Any, info: BenchmarkInfo, split: str) -> Iterator[EncodedImage]:
    row = 0
    for batch in images.iter(batch_size=READ_ROWS):
        for value in batch[info.image_column]:
            where = f"{info.hub_id} {split} row {row}"
            yield EncodedImage(embedded_bytes(value, info.image_column, where=where), where)
            row += 1


def _revision(table: Any) -> str:
    """The commit that was read, as told by the addresses it was fetched from; "unknown" where they do not tell."""
    for address in table.info.download_checksums or {}:
        if match := re.search(r"@([0-9a-f]{40})/", address):
            return match.group(1)
    return "unknown"
