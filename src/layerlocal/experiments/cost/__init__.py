"""What training costs: cases, measurements in fresh processes, memory budgets, scaling, ceilings, and what theory allows."""

from layerlocal.experiments.cost.case import MODES as MODES
from layerlocal.experiments.cost.case import CostCase as CostCase
from layerlocal.experiments.cost.theory import limits as limits

__all__ = ["MODES", "CostCase", "limits"]
