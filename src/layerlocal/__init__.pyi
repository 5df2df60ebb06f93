# The one list of public names: what is imported here is public, and is loaded when first used.
from .data import Augment as Augment
from .data import Batches as Batches
from .data import Data as Data
from .data import Split as Split
from .data import data_from_arrays as data_from_arrays
from .data import data_from_splits as data_from_splits
from .data import list_data as list_data
from .data import load_data as load_data
from .measure import measure_flops as measure_flops
from .measure import measure_locality as measure_locality
from .measure import measure_saved_bytes as measure_saved_bytes
from .measure import measure_speed as measure_speed
from .measure.contract import CheckResult as CheckResult
from .measure.contract import check_rule as check_rule
from .networks import Network as Network
from .networks import create_network as create_network
from .networks import list_networks as list_networks
from .networks import network_options as network_options
from .rules import BlockwiseRule as BlockwiseRule
from .rules import Rule as Rule
from .rules import RuleInfo as RuleInfo
from .rules import SpatialReadout as SpatialReadout
from .rules import create_rule as create_rule
from .rules import list_rules as list_rules
from .rules import register_rule as register_rule
from .rules import rule_options as rule_options
from .runs.many import run_many as run_many
from .runs.run import run_spec as run_spec
from .runs.store import RunRecord as RunRecord
from .runs.store import RunStore as RunStore
from .runs.table import load_runs as load_runs
from .spec import DataSpec as DataSpec
from .spec import NetworkSpec as NetworkSpec
from .spec import Recipe as Recipe
from .spec import RuleSpec as RuleSpec
from .spec import RunSpec as RunSpec
from .training.estimator import LayerLocalClassifier as LayerLocalClassifier
from .training.evaluate import Evaluation as Evaluation
from .training.evaluate import evaluate_split as evaluate_split
from .training.fit import Fitted as Fitted
from .training.fit import fit as fit
from .types import BlockLoss as BlockLoss
from .types import InputError as InputError
from .types import Locality as Locality

__version__: str
__all__: list[str]
