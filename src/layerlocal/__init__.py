"""layerlocal trains networks by layer-local rules beside their backprop twins, and says what that brings and what it costs.

    from layerlocal import fit, load_data
    fitted = fit("dtg-ff", load_data("fashion_mnist_subset"), network="vgg8", width=0.125)
    module = fitted.to_module()   # a plain nn.Module: pixels in, scores out

Names are loaded when first used, so that ``import layerlocal`` costs nothing and the report never needs torch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from layerlocal.data import Augment as Augment
    from layerlocal.data import Batches as Batches
    from layerlocal.data import Data as Data
    from layerlocal.data import Split as Split
    from layerlocal.data import data_from_arrays as data_from_arrays
    from layerlocal.data import data_from_splits as data_from_splits
    from layerlocal.data import list_data as list_data
    from layerlocal.data import load_data as load_data
    from layerlocal.measure import measure_flops as measure_flops
    from layerlocal.measure import measure_locality as measure_locality
    from layerlocal.measure import measure_saved_bytes as measure_saved_bytes
    from layerlocal.measure import measure_speed as measure_speed
    from layerlocal.measure.contract import CheckResult as CheckResult
    from layerlocal.measure.contract import check_rule as check_rule
    from layerlocal.networks import Network as Network
    from layerlocal.networks import create_network as create_network
    from layerlocal.networks import list_networks as list_networks
    from layerlocal.rules import BlockwiseRule as BlockwiseRule
    from layerlocal.rules import Rule as Rule
    from layerlocal.rules import RuleInfo as RuleInfo
    from layerlocal.rules import SpatialReadout as SpatialReadout
    from layerlocal.rules import create_rule as create_rule
    from layerlocal.rules import list_rules as list_rules
    from layerlocal.rules import register_rule as register_rule
    from layerlocal.runs.many import run_many as run_many
    from layerlocal.runs.run import run_spec as run_spec
    from layerlocal.runs.store import RunRecord as RunRecord
    from layerlocal.runs.store import RunStore as RunStore
    from layerlocal.runs.table import load_runs as load_runs
    from layerlocal.spec import DataSpec as DataSpec
    from layerlocal.spec import NetworkSpec as NetworkSpec
    from layerlocal.spec import Recipe as Recipe
    from layerlocal.spec import RuleSpec as RuleSpec
    from layerlocal.spec import RunSpec as RunSpec
    from layerlocal.training.estimator import LayerLocalClassifier as LayerLocalClassifier
    from layerlocal.training.evaluate import Evaluation as Evaluation
    from layerlocal.training.evaluate import evaluate_split as evaluate_split
    from layerlocal.training.fit import Fitted as Fitted
    from layerlocal.training.fit import fit as fit
    from layerlocal.types import BlockLoss as BlockLoss
    from layerlocal.types import InputError as InputError
    from layerlocal.types import Locality as Locality

__version__ = "0.1.0"

_HOMES = {
    "data": ["Augment", "Batches", "Data", "Split", "data_from_arrays", "data_from_splits", "list_data", "load_data"],
    "measure": ["measure_flops", "measure_locality", "measure_saved_bytes", "measure_speed"],
    "measure.contract": ["CheckResult", "check_rule"],
    "networks": ["Network", "create_network", "list_networks"],
    "rules": ["BlockwiseRule", "Rule", "RuleInfo", "SpatialReadout", "create_rule", "list_rules", "register_rule"],
    "runs.many": ["run_many"],
    "runs.run": ["run_spec"],
    "runs.store": ["RunRecord", "RunStore"],
    "runs.table": ["load_runs"],
    "spec": ["DataSpec", "NetworkSpec", "Recipe", "RuleSpec", "RunSpec"],
    "training.estimator": ["LayerLocalClassifier"],
    "training.evaluate": ["Evaluation", "evaluate_split"],
    "training.fit": ["Fitted", "fit"],
    "types": ["BlockLoss", "InputError", "Locality"],
}
_HOME = {name: home for home, names in _HOMES.items() for name in names}

__all__ = [
    *(name for name in _HOME if name != "LayerLocalClassifier"),
    "__version__",
]  # a star import asks for no extra


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'layerlocal' has no attribute {name!r}")
    return getattr(importlib.import_module(f"layerlocal.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_HOME, "__version__"])
