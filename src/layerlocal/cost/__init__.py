"""What training costs: cases, measurements in fresh processes, memory budgets, scaling, ceilings, and what theory allows."""

from layerlocal.cost.case import MODES as MODES
from layerlocal.cost.case import CostCase as CostCase
from layerlocal.cost.theory import limits as limits

__all__ = ["MODES", "CostCase", "limits"]
