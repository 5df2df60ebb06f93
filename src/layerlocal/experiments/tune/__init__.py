"""Fair search for settings: every rule and every twin gets the same space and as many trials, judged on validation data only."""

from layerlocal.experiments.tune.plan import Method as Method
from layerlocal.experiments.tune.plan import TunePlan as TunePlan
from layerlocal.experiments.tune.plan import network_of_trials as network_of_trials
from layerlocal.experiments.tune.plan import setting_of as setting_of
from layerlocal.experiments.tune.points import shared_points as shared_points
from layerlocal.experiments.tune.search import Search as Search
from layerlocal.experiments.tune.search import at_once as at_once
from layerlocal.experiments.tune.space import DEFAULT_SPACE as DEFAULT_SPACE
from layerlocal.experiments.tune.space import Dimension as Dimension
from layerlocal.experiments.tune.space import of_rule as of_rule
from layerlocal.experiments.tune.space import parse_dimension as parse_dimension
from layerlocal.experiments.tune.space import refuse_unfair as refuse_unfair
from layerlocal.experiments.tune.space import settings_words as settings_words

__all__ = [
    "DEFAULT_SPACE",
    "Dimension",
    "Method",
    "Search",
    "TunePlan",
    "at_once",
    "network_of_trials",
    "of_rule",
    "parse_dimension",
    "refuse_unfair",
    "setting_of",
    "settings_words",
    "shared_points",
]
