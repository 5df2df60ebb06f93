"""What of a task networks and rules are built for, and the network that is taken where none is named."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

__all__ = ["USUAL_NETWORK", "Shaped", "network_for"]

USUAL_NETWORK: Mapping[str, str] = {"images": "vgg8", "vectors": "mlp", "text": "gpt"}
"""By what samples are (`Shaped.kind`)."""


class Shaped:
    """Loaded data, what a run keeps of them, or a task that is only planned: the shape of a sample and the number of classes.

    A class that builds on it has ``sample_shape``, (C, H, W), (D,) for vectors or (T,) for tokens, and ``num_classes``, K; tokens also have a
    ``vocabulary``, V, and a label each.
    """

    vocabulary: int | None = None

    if TYPE_CHECKING:  # a field or a property of the class itself

        @property
        def sample_shape(self) -> tuple[int, ...]:
            """(C, H, W), (D,) for vectors, or (T,) for tokens."""

        @property
        def num_classes(self) -> int:
            """K."""

    @property
    def kind(self) -> Literal["images", "vectors", "text"]:
        """What samples are."""
        if self.vocabulary is not None:
            return "text"
        return "images" if len(self.sample_shape) == 3 else "vectors"

    @property
    def label_shape(self) -> tuple[int, ...]:
        """Of a sample's labels: (), or (T,) where every token has one."""
        return self.sample_shape if self.vocabulary is not None else ()

    @property
    def network_input(self) -> dict[str, Any]:
        """What `create_network` is told of a sample: ``in_channels`` and ``image_size``, or ``vocabulary`` and ``context``."""
        if self.vocabulary is not None:
            return {"vocabulary": self.vocabulary, "context": self.sample_shape[0]}
        return {"in_channels": self.in_channels, "image_size": self.image_size}

    @property
    def in_channels(self) -> int:
        """C, or D for vectors."""
        return self.sample_shape[0]

    @property
    def image_size(self) -> int:
        """H = W in pixels; 1 for vectors."""
        return self.sample_shape[-1] if len(self.sample_shape) == 3 else 1


def network_for(data: Shaped) -> str:
    """The network that is taken where none is named: ``"mlp"`` for vectors, ``"vgg8"`` for images, ``"gpt"`` for text."""
    return USUAL_NETWORK[data.kind]
