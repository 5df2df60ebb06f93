"""The operations worth fusing: normalization, activation, pooling and the readout of a block in one, with closed-form gradients."""

from layerlocal.kernels.fused import fuses as fuses
from layerlocal.kernels.fused import norm_act as norm_act
from layerlocal.kernels.grid import cell_max as cell_max
from layerlocal.kernels.grid import cell_sizes as cell_sizes
from layerlocal.kernels.grid import cells_of as cells_of
from layerlocal.kernels.grid import grid_max as grid_max
from layerlocal.kernels.grid import grid_mean as grid_mean
from layerlocal.kernels.grid import grid_rms as grid_rms
from layerlocal.kernels.native import kernels_in_use as kernels_in_use

__all__ = [
    "cell_max", "cell_sizes", "cells_of", "fuses", "grid_max", "grid_mean", "grid_rms", "kernels_in_use", "norm_act",
]  # fmt: skip
