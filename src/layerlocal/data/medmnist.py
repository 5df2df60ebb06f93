"""The eleven two-dimensional sets of MedMNIST v2 that have one label an image, as files that MedMNIST publishes on Zenodo.

Names, counts, classes, licences and MD5 sums are those of ``medmnist/info.py`` of the package medmnist 3.0.2 (github.com/MedMNIST/MedMNIST);
images are 28×28. ChestMNIST is not here: an image of it has several labels. Nor are the volumes of the six 3D sets. No repository of Parquet
files that has them all with their class names was found on the Hugging Face Hub, so they are read from the published files (npz.py).
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["MEDMNIST", "ORIGIN", "PublishedFile"]

ORIGIN = "https://zenodo.org/records/10519652"
_BY_NC = "CC BY-NC 4.0 (non-commercial)"
_ORGANS = (
    "bladder", "femur-left", "femur-right", "heart", "kidney-left", "kidney-right", "liver", "lung-left", "lung-right", "pancreas", "spleen",
)  # fmt: skip
_CELLS = (
    "basophil", "eosinophil", "erythroblast", "immature granulocytes(myelocytes, metamyelocytes and promyelocytes)", "lymphocyte", "monocyte",
    "neutrophil", "platelet",
)  # fmt: skip
_COLON = (
    "adipose", "background", "debris", "lymphocytes", "mucus", "smooth muscle", "normal colon mucosa", "cancer-associated stroma",
    "colorectal adenocarcinoma epithelium",
)  # fmt: skip
_SKIN = (
    "actinic keratoses and intraepithelial carcinoma", "basal cell carcinoma", "benign keratosis-like lesions", "dermatofibroma", "melanoma",
    "melanocytic nevi", "vascular lesions",
)  # fmt: skip
_KIDNEY = (
    "Collecting Duct, Connecting Tubule", "Distal Convoluted Tubule", "Glomerular endothelial cells", "Interstitial endothelial cells",
    "Leukocytes", "Podocytes", "Proximal Tubule Segments", "Thick Ascending Limb",
)  # fmt: skip
_RETINA = ("choroidal neovascularization", "diabetic macular edema", "drusen", "normal")


@dataclass(frozen=True)
class PublishedFile:
    """A data set that its authors publish as one ``.npz`` file of six arrays (`layerlocal.data.npz`).

    Attributes:
        name: our name for it, and theirs of the file without its ending.
        md5: of the file, 32 hex digits.
        parts: images of the published splits train, val and test.
        channels: 1 for gray, 3 for colour.
        class_names: K names, in the order of the labels.
        licence: of the data.
        mirrored: whether an image and its mirror image have the same label.
        note: what else to know.
    """

    name: str
    md5: str
    parts: tuple[int, int, int]
    channels: int
    class_names: tuple[str, ...]
    licence: str = "CC BY 4.0"
    mirrored: bool = True
    note: str = ""

    @property
    def file(self) -> str:
        """The name of the file."""
        return f"{self.name}.npz"

    @property
    def sizes(self) -> tuple[int, int, int]:
        """Training images (those of val among them), test images, classes."""
        train, val, test = self.parts
        return train + val, test, len(self.class_names)


_BY_SCAN = "val is of other scans than train; as both are mixed, the validation split shows scans that are trained on"
_TABLE = (
    PublishedFile("pathmnist", "a8b06965200029087d5bd730944a56c1", (89_996, 10_004, 7_180), 3, _COLON),
    PublishedFile("dermamnist", "0744692d530f8e62ec473284d019b0c7", (7_007, 1_003, 2_005), 3, _SKIN, licence=_BY_NC),
    PublishedFile("octmnist", "c68d92d5b585d8d81f7112f81e2d0842", (97_477, 10_832, 1_000), 1, _RETINA),
    PublishedFile("pneumoniamnist", "28209eda62fecd6e6a2d98b1501bb15f", (4_708, 524, 624), 1, ("normal", "pneumonia")),
    PublishedFile(
        "retinamnist",
        "bd4c0672f1bba3e3a89f0e4e876791e4",
        (1_080, 120, 400),
        3,
        tuple("01234"),
        note="grades are taken for classes",
    ),
    PublishedFile(
        "breastmnist", "750601b1f35ba3300ea97c75c52ff8f6", (546, 78, 156), 1, ("malignant", "normal, benign")
    ),
    PublishedFile("bloodmnist", "7053d0359d879ad8a5505303e11de1dc", (11_959, 1_712, 3_421), 3, _CELLS),
    PublishedFile("tissuemnist", "ebe78ee8b05294063de985d821c1c34b", (165_466, 23_640, 47_280), 1, _KIDNEY),
    PublishedFile(
        "organamnist",
        "68e3f8846a6bd62f0c9bf841c0d9eacc",
        (34_561, 6_491, 17_778),
        1,
        _ORGANS,
        mirrored=False,
        note=_BY_SCAN,
    ),
    PublishedFile(
        "organcmnist",
        "b9ceb9546e10131b32923c5bbeaea2b1",
        (12_975, 2_392, 8_216),
        1,
        _ORGANS,
        mirrored=False,
        note=_BY_SCAN,
    ),
    PublishedFile(
        "organsmnist",
        "9ab87b696fb54e2a387ebe992d6ed5f1",
        (13_932, 2_452, 8_827),
        1,
        _ORGANS,
        mirrored=False,
        note=_BY_SCAN,
    ),
)
MEDMNIST: dict[str, PublishedFile] = {found.name: found for found in _TABLE}
