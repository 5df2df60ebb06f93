"""Make the embedded text: modules of Python's own library, each a document.

    python scripts/make_embedded_text.py FOLDER

FOLDER is `Lib` of CPython 3.11.7 (in an installation: `lib/python3.11`). Modules that carry a copyright notice of their own are left out, so
that all of it is under Python's licence (PSF-2.0). Writes src/layerlocal/data/embedded/python_library.npz and prints its sha256, which belongs
into src/layerlocal/data/text.py. The same folder and zlib give the same bytes.
"""

import argparse
import hashlib
from pathlib import Path

import numpy as np
from make_embedded import OUT, pack

SEED = 19910220  # the day Python 0.9.0 was posted
MOST_BYTES = {"train": 1_800_000, "test": 200_000}
LONGEST = 100_000


def documents(folder: Path) -> list[tuple[str, bytes]]:
    """Names and contents of the modules right in the folder that may be taken, sorted by name."""
    found = [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.py")) if not path.name.startswith("_")]
    return [(name, text) for name, text in found if b"opyright" not in text and 1000 <= len(text) <= LONGEST]


def choose(found: list[tuple[str, bytes]]) -> dict[str, list[tuple[str, bytes]]]:
    """Whole documents in an order that is drawn, for the test split until it is full, then for the training split."""
    order = np.random.default_rng(SEED).permutation(len(found))
    splits: dict[str, list[tuple[str, bytes]]] = {"test": [], "train": []}
    for index in order:
        name, text = found[index]
        for split, chosen in splits.items():
            if sum(len(each) for _, each in chosen) + len(text) <= MOST_BYTES[split]:
                chosen.append((name, text))
                break
    return splits


def main() -> None:
    """Write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="the folder of Python's library, of 3.11.7")
    parser.add_argument("--out", type=Path, default=OUT.with_name("python_library.npz"))
    args = parser.parse_args()
    arrays = {}
    for split, chosen in choose(documents(args.folder)).items():
        arrays[f"{split}_text"] = np.frombuffer(b"".join(text for _, text in chosen), np.uint8)
        arrays[f"{split}_ends"] = np.cumsum([len(text) for _, text in chosen])
        arrays[f"{split}_names"] = np.array([name for name, _ in chosen])
        print(f"{split}: {len(chosen)} documents, {len(arrays[f'{split}_text']):,} bytes")
    data = pack(arrays)
    args.out.write_bytes(data)
    print(f"{args.out.name}: {len(data) / 1e6:.2f} MB, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
