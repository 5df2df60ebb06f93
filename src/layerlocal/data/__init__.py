"""What is learned from: `load_data` gives a task's splits, `Batches` makes augmented, normalized batches of one."""

from layerlocal.data.arrays import data_from_arrays as data_from_arrays
from layerlocal.data.batches import Augment as Augment
from layerlocal.data.batches import Batches as Batches
from layerlocal.data.benchmarks import BenchmarkInfo as BenchmarkInfo
from layerlocal.data.benchmarks import benchmark_table as benchmark_table
from layerlocal.data.bundle import Data as Data
from layerlocal.data.bundle import Split as Split
from layerlocal.data.facts import DataFacts as DataFacts
from layerlocal.data.load import content_of as content_of
from layerlocal.data.load import list_data as list_data
from layerlocal.data.load import load_data as load_data
from layerlocal.data.splits import data_from_splits as data_from_splits
from layerlocal.data.teacher import TeacherOptions as TeacherOptions

__all__ = [
    "Augment",
    "Batches",
    "BenchmarkInfo",
    "Data",
    "DataFacts",
    "Split",
    "TeacherOptions",
    "benchmark_table",
    "content_of",
    "data_from_arrays",
    "data_from_splits",
    "list_data",
    "load_data",
]
