"""Places that images come from: Parquet files or images in folders, found by how they lie, or a file of arrays. The Hub is read by hub.py."""

from __future__ import annotations

from pathlib import Path

from layerlocal.data.folders import has_training_images, image_folder
from layerlocal.data.medmnist import PublishedFile
from layerlocal.data.npz import is_npz, npz_file
from layerlocal.data.parquet import parquet_files, parquet_folder, parquet_place
from layerlocal.data.split_source import READ_ROWS, OpenSplit, SplitSource, pick_label
from layerlocal.types import InputError

__all__ = ["READ_ROWS", "OpenSplit", "SplitSource", "find_folder", "pick_label"]


def find_folder(
    folder: Path, *, labels: str | None = None, test_share: bool = False, published: PublishedFile | None = None
) -> tuple[str, SplitSource, SplitSource | None]:
    """The kind ("parquet", "imagefolder" or "npz"), training and test source of a folder, or of a file ``NAME.npz``.

    Parquet files lie in the folder itself or in exactly one folder inside it (as the Hub lays them out). The test
    split is the first there is of test, validation, valid, val; another one is left alone.

    Args:
        folder: where to look, or the file.
        labels: the label column that will be wanted (`pick_label`).
        test_share: a folder without a test split will do, since one is drawn from the training images; the test source is then None.
        published: what a file must be; None: any.

    Raises:
        InputError: no such folder or file, no training or no test images in it, images beside Parquet files, no column or array of
            images or labels.
    """
    if is_npz(folder):
        pick_label(["label"], labels)
        return "npz", *npz_file(folder, published=published, test_share=test_share)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "is a broken link" if folder.is_symlink() else "does not exist"
        raise InputError(
            f"{folder} {what}; give a folder with train-*.parquet and test-*.parquet, or train/<class>/<image>, or a file NAME.npz"
        )
    place = parquet_place(folder)
    if place is not None:
        if place == folder and has_training_images(folder):
            raise InputError(
                f"{folder} has both {parquet_files(folder, 'train')[0].name} and images in train/, which may be other data; keep one of the two"
            )
        return "parquet", *parquet_folder(place, labels=labels, test_share=test_share)
    train, test = image_folder(folder, test_share=test_share)
    pick_label(["label"], labels)
    return "imagefolder", train, test
