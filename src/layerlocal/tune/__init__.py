"""Fair search for settings: every rule and every twin gets the same space and as many trials, judged on validation data only."""

from layerlocal.tune.plan import Method as Method
from layerlocal.tune.plan import TunePlan as TunePlan
from layerlocal.tune.search import AT_ONCE as AT_ONCE
from layerlocal.tune.search import Search as Search
from layerlocal.tune.space import DEFAULT_SPACE as DEFAULT_SPACE
from layerlocal.tune.space import Dimension as Dimension
from layerlocal.tune.space import parse_dimension as parse_dimension

__all__ = ["AT_ONCE", "DEFAULT_SPACE", "Dimension", "Method", "Search", "TunePlan", "parse_dimension"]
