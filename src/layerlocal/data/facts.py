"""What a run keeps of its data, so that a trained network can be used without them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from layerlocal.data.bundle import Data
from layerlocal.data.shaped import Shaped
from layerlocal.data.text import BYTES
from layerlocal.scale import PIXELS, Scale

__all__ = ["DataFacts"]


@dataclass(frozen=True, eq=False)
class DataFacts(Shaped):
    """Shape, classes and normalization of the data that a rule was trained on.

    Attributes:
        class_names: K names, in the order of the labels.
        sample_shape: (C, H, W), or (D,) for vectors.
        dtype: of raw samples: ``torch.uint8`` for pixels 0..255 and tokens, else ``torch.float32``.
        mean: (in_channels,) float32, as `Data.mean`.
        std: (in_channels,) float32, as `Data.std`.
        scale: of the samples, as `Data.scale`.
        vocabulary: V where samples are tokens, which are uint8.
    """

    class_names: tuple[str, ...]
    sample_shape: tuple[int, ...]
    dtype: torch.dtype
    mean: Tensor
    std: Tensor
    scale: Scale
    vocabulary: int | None = None

    @classmethod
    def of(cls, data: Data) -> Self:
        """Those of loaded data."""
        dtype = torch.uint8 if data.train.pixels or data.train.tokens else torch.float32
        names = tuple(map(str, data.class_names))
        return cls(names, tuple(data.sample_shape), dtype, data.mean, data.std, data.scale, data.vocabulary)

    @classmethod
    def parse(cls, content: dict[str, Any]) -> Self | None:
        """From what `as_json` gave; ``None`` where it is not there, as in runs of 0.1.0."""
        if "mean" not in content:
            return None
        mean, std = (torch.tensor(content[name], dtype=torch.float32) for name in ("mean", "std"))
        vocabulary, whole = content.get("vocabulary"), content["dtype"] == "uint8"
        scale = PIXELS if whole and vocabulary is None else Scale(False, content["reach"])
        dtype = torch.uint8 if whole else torch.float32
        names = tuple(content.get("class_names", BYTES))
        return cls(names, tuple(content["sample_shape"]), dtype, mean, std, scale, vocabulary)

    def as_json(self) -> dict[str, Any]:
        """Plain content; the float32 numbers are kept to the last bit. Without names of classes where they are bytes."""
        return {
            **({} if self.class_names == BYTES else {"class_names": list(self.class_names)}),
            "sample_shape": list(self.sample_shape),
            "dtype": str(self.dtype).removeprefix("torch."),
            "mean": self.mean.tolist(),
            "std": self.std.tolist(),
            "reach": self.scale.reach,
            **({} if self.vocabulary is None else {"vocabulary": self.vocabulary}),
        }

    @property
    def num_classes(self) -> int:
        """K."""
        return len(self.class_names)

    def made_up_samples(self, count: int) -> Tensor:
        """Raw samples (count, *sample_shape) of noise with the mean and the deviation of the data, the same every time: to compare two
        forms of one network where the data are not at hand.
        """
        generator = torch.Generator().manual_seed(0)
        if self.vocabulary is not None:
            return torch.randint(self.vocabulary, (count, *self.sample_shape), generator=generator).to(self.dtype)
        noise = torch.randn(count, *self.sample_shape, generator=generator)
        spread = (-1,) + (1,) * (len(self.sample_shape) - 1)
        values = noise * self.std.reshape(spread) + self.mean.reshape(spread)
        return (values * 255).round().clamp(0, 255).to(torch.uint8) if self.dtype == torch.uint8 else values
