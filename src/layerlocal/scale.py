"""On what scale a model's inputs are: fixed when it is fitted, whatever type they come in later.

A value means what it meant in `fit`; its type changes nothing. So a model that was fitted on uint8 pixels takes the same values 0..255 as
int64 or float too. Where values may be looked at, images on another scale are refused: that is in `LayerLocalClassifier`, and in a module
on the CPU. On a GPU, and in a traced or exported module, looking would make the GPU wait or break the trace, and only the type is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from layerlocal.types import InputError

__all__ = ["PIXELS", "Scale"]

TIMES = 10
"""Images that reach so many times as far as those of `fit` are of another scale."""
LARGE = 100
"""Where images of `fit` reached so far, images of fractions up to 1 are of another scale."""


@dataclass(frozen=True)
class Scale:
    """What the numbers of a model's inputs are.

    Args:
        pixels: 0..255, divided by 255 before mean and deviation are used; the model was fitted on uint8.
        reach: largest absolute value of the images it was fitted on; ``None`` for vectors, whose features may be of any size.
    """

    pixels: bool
    reach: float | None = None

    def refuse_type(self, dtype: torch.dtype) -> None:
        """Refuse bytes for a model whose images are of a smaller scale, and true and false for one of a larger: no value is looked at.

        Raises:
            InputError: such a type.
        """
        if dtype == torch.uint8 and not self.pixels and self.reach is not None and TIMES * self.reach < 255:
            raise InputError(
                f"the model was fitted on images whose values reach {self.reach:g}, and uint8 pixels reach 255; "
                "bring them to the scale of those in fit (perhaps x / 255)"
            )

        if dtype == torch.bool and self.reach is not None and self.reach >= LARGE:
            raise InputError(
                f"the model was fitted on images whose values reach {self.reach:g}, got true and false; give images on the scale of those in fit"
            )

    def refuse_values(self, x: Tensor) -> None:
        """Refuse images on another scale than those in `fit`. Waits for the device.

        Raises:
            InputError: values outside 0..255 for pixels, or `TIMES` as large as any before; fractions up to 1 where they reached `LARGE`.
        """
        self.refuse_type(x.dtype)
        if self.reach is None or x.numel() == 0 or (self.pixels and x.dtype == torch.uint8):
            return
        low, high = (float(value) for value in x.detach().aminmax())
        if self.pixels and not (low >= 0 and high <= 255):
            raise InputError(
                f"the model was fitted on pixels from 0 to 255, got values from {low:g} to {high:g}; give pixels as in fit"
            )
        largest = max(-low, high)
        if largest > TIMES * self.reach:
            raise InputError(
                f"the model was fitted on images whose values reach {self.reach:g}, got values that reach {largest:g}; "
                "bring them to the scale of those in fit"
            )
        if self.reach >= LARGE and largest <= 1 and x.is_floating_point() and bool((x != x.round()).any()):
            raise InputError(
                f"the model was fitted on images whose values reach {self.reach:g}, and these are fractions up to {largest:g}, as if "
                "they had been divided by 255; give them as in fit"
            )


PIXELS = Scale(pixels=True, reach=255.0)
"""Of uint8 images."""
