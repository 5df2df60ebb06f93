"""What of a task networks and rules are built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

__all__ = ["Shaped"]


class Shaped:
    """Loaded data, what a run keeps of them, or a task that is only planned: the shape of a sample and the number of classes.

    A class that builds on it has ``sample_shape``, (C, H, W) or (D,) for vectors, and ``num_classes``, K.
    """

    if TYPE_CHECKING:  # a field or a property of the class itself

        @property
        def sample_shape(self) -> tuple[int, ...]:
            """(C, H, W), or (D,) for vectors."""

        @property
        def num_classes(self) -> int:
            """K."""

    @property
    def in_channels(self) -> int:
        """C, or D for vectors."""
        return self.sample_shape[0]

    @property
    def image_size(self) -> int:
        """H = W in pixels; 1 for vectors."""
        return self.sample_shape[-1] if len(self.sample_shape) == 3 else 1
