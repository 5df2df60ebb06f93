"""Make the embedded data: a class-balanced, seeded subset of Fashion-MNIST.

    python scripts/make_embedded.py FOLDER

FOLDER holds the four idx files (`train-images-idx3-ubyte.gz`, …), e.g. from the Debian package dataset-fashion-mnist.
Writes src/layerlocal/data/embedded/fashion_mnist_subset.npz and prints its sha256, which belongs into
src/layerlocal/data/builtin.py. The same folder and zlib give the same bytes.
"""

import argparse
import gzip
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

OUT = Path(__file__).resolve().parents[1] / "src" / "layerlocal" / "data" / "embedded" / "fashion_mnist_subset.npz"
SEED = 20170825  # the day Fashion-MNIST was put online
PER_CLASS = {"train": 1000, "test": 200}
PREFIX = {"train": "train", "test": "t10k"}


def read_idx(folder: Path, name: str) -> np.ndarray:
    """One idx file of bytes, compressed or not."""
    packed = folder / f"{name}.gz"
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else (folder / name).read_bytes()
    if data[:3] != b"\x00\x00\x08":
        raise SystemExit(f"{name} is not an idx file of bytes")
    shape = np.frombuffer(data, ">i4", count=data[3], offset=4)
    return np.frombuffer(data, np.uint8, offset=4 + 4 * data[3]).reshape(shape)


def choose(labels: np.ndarray, per_class: int, rng: np.random.Generator) -> np.ndarray:
    """Rows in ascending order, `per_class` of each class."""
    picked = [rng.choice(np.flatnonzero(labels == k), per_class, replace=False) for k in range(10)]
    return np.sort(np.concatenate(picked))


def pack(arrays: dict[str, np.ndarray]) -> bytes:
    """An .npz with fixed times and the best compression."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for name, array in arrays.items():
            raw = io.BytesIO()
            np.save(raw, array, allow_pickle=False)
            entry = zipfile.ZipInfo(f"{name}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            entry.external_attr = 0o644 << 16
            file.writestr(entry, raw.getvalue(), compress_type=zipfile.ZIP_DEFLATED, compresslevel=9)
    return out.getvalue()


def choose_subset(folder: Path) -> dict[str, np.ndarray]:
    """Images and labels of both splits, rows in the original order."""
    rng = np.random.default_rng(SEED)
    arrays = {}
    for split, per_class in PER_CLASS.items():
        images = read_idx(folder, f"{PREFIX[split]}-images-idx3-ubyte")
        labels = read_idx(folder, f"{PREFIX[split]}-labels-idx1-ubyte")
        rows = choose(labels, per_class, rng)
        arrays |= {f"{split}_images": images[rows], f"{split}_labels": labels[rows]}
    return arrays


def main() -> None:
    """Write the file and print its size and checksum."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path, help="folder of the four Fashion-MNIST idx files")
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    data = pack(choose_subset(args.folder))
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_bytes(data)
    print(f"{args.out.name}: {len(data) / 1e6:.2f} MB, sha256 {hashlib.sha256(data).hexdigest()}")


if __name__ == "__main__":
    main()
