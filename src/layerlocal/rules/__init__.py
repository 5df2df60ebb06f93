"""How a network learns: the interface of a rule, and one file a rule."""

from layerlocal.rules.asge import ASGE as ASGE
from layerlocal.rules.blockwise_decoder import BlockwiseDecoder as BlockwiseDecoder
from layerlocal.rules.bp_every import BPEvery as BPEvery
from layerlocal.rules.class_goodness import ClassGoodness as ClassGoodness
from layerlocal.rules.committee import Committee as Committee
from layerlocal.rules.core.readout import SpatialReadout as SpatialReadout
from layerlocal.rules.core.registry import create_rule as create_rule
from layerlocal.rules.core.registry import find_rule as find_rule
from layerlocal.rules.core.registry import list_rules as list_rules
from layerlocal.rules.core.registry import register_rule as register_rule
from layerlocal.rules.core.registry import rule_class as rule_class
from layerlocal.rules.core.registry import rule_options as rule_options
from layerlocal.rules.core.rule import Rule as Rule
from layerlocal.rules.core.rule import RuleInfo as RuleInfo
from layerlocal.rules.core.walk import BlockwiseRule as BlockwiseRule
from layerlocal.rules.cwcomp import CwComp as CwComp
from layerlocal.rules.deeperforward import DeeperForward as DeeperForward
from layerlocal.rules.diffusion_blocks import DiffusionBlocks as DiffusionBlocks
from layerlocal.rules.dtg_ff import DTGFF as DTGFF
from layerlocal.rules.dtg_ff import DTGFFShared as DTGFFShared
from layerlocal.rules.feedback import Feedback as Feedback
from layerlocal.rules.ff import FF as FF
from layerlocal.rules.hcl_ff import HCLFF as HCLFF
from layerlocal.rules.local_heads import LocalHeads as LocalHeads
from layerlocal.rules.lookahead import Lookahead as Lookahead
from layerlocal.rules.mono_forward import MonoForward as MonoForward
from layerlocal.rules.panel import Panel as Panel
from layerlocal.rules.predsim import PredSim as PredSim
from layerlocal.rules.reconstruct import Reconstruct as Reconstruct
from layerlocal.rules.scff import SCFF as SCFF
from layerlocal.rules.sigprop import SigProp as SigProp
from layerlocal.rules.symba import SymBa as SymBa
from layerlocal.rules.twins import BP as BP
from layerlocal.rules.twins import BPDeepSup as BPDeepSup
from layerlocal.rules.twins import Segmented as Segmented

__all__ = [
    "ASGE",
    "BP",
    "DTGFF",
    "FF",
    "HCLFF",
    "SCFF",
    "BPDeepSup",
    "BPEvery",
    "BlockwiseDecoder",
    "BlockwiseRule",
    "Committee",
    "CwComp",
    "DTGFFShared",
    "DeeperForward",
    "DiffusionBlocks",
    "Feedback",
    "LocalHeads",
    "Lookahead",
    "MonoForward",
    "PredSim",
    "Reconstruct",
    "Rule",
    "RuleInfo",
    "Segmented",
    "SigProp",
    "SpatialReadout",
    "SymBa",
    "create_rule",
    "find_rule",
    "list_rules",
    "register_rule",
    "rule_options",
]
