"""One run on several processes: data-parallel (any rule), layer-parallel (local rules), and backprop's pipeline to compare them with."""

from layerlocal.distributed.data_parallel import DataParallel as DataParallel
from layerlocal.distributed.data_parallel import DataParallelTraining as DataParallelTraining
from layerlocal.distributed.group import Group as Group
from layerlocal.distributed.group import join as join
from layerlocal.distributed.launch import run_parallel as run_parallel
from layerlocal.distributed.layer_parallel import LayerParallelTraining as LayerParallelTraining

__all__ = [
    "DataParallel", "DataParallelTraining", "Group", "LayerParallelTraining", "join",
    "run_parallel",
]  # fmt: skip
