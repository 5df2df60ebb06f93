"""A network of your own in one file.

layerlocal train --network examples/my_network.py:small_cnn --set network.depth=4 --epochs 2
layerlocal check class-goodness --network examples/my_network.py:small_cnn
layerlocal study accuracy --network examples/my_network.py:small_cnn --data fashion_mnist_subset
"""

from torch import nn

from layerlocal import Network


def conv(inside: int, outside: int, stride: int) -> nn.Sequential:
    """A convolution, batch norm and a leaky ReLU: (B, Ci, H, W) → (B, Co, ⌈H/stride⌉, ⌈W/stride⌉)."""
    layers = [nn.Conv2d(inside, outside, 3, stride, 1, bias=False), nn.BatchNorm2d(outside), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers)


def small_cnn(in_channels: int, image_size: int, width: float = 1.0, depth: int = 3, channels: int = 32) -> Network:
    """Equal convolutions, of which the first two halve the side. Everything after ``image_size`` is an option."""
    sizes = [in_channels, *[max(1, round(width * channels))] * depth]
    blocks = [conv(sizes[i], sizes[i + 1], stride=2 if i < 2 else 1) for i in range(depth)]
    return Network(blocks, sample_shape=(in_channels, image_size, image_size))
