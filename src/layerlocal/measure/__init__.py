"""What a rule is and costs: a rule and a batch in, a dict with units in its keys out."""

from layerlocal.measure.flops import count_passes as count_passes
from layerlocal.measure.flops import measure_flops as measure_flops
from layerlocal.measure.locality import gradient_reach as gradient_reach
from layerlocal.measure.locality import intervention as intervention
from layerlocal.measure.locality import measure_locality as measure_locality
from layerlocal.measure.memory import measure_saved_bytes as measure_saved_bytes
from layerlocal.measure.memory import peak_resident_bytes as peak_resident_bytes
from layerlocal.measure.memory import reset_peak_resident as reset_peak_resident
from layerlocal.measure.separability import measure_separability as measure_separability
from layerlocal.measure.speed import measure_speed as measure_speed
from layerlocal.measure.speed import speed_ratios as speed_ratios

__all__ = [
    "count_passes", "gradient_reach", "intervention", "measure_flops", "measure_locality", "measure_saved_bytes", "measure_separability",
    "measure_speed", "peak_resident_bytes", "reset_peak_resident", "speed_ratios",
]  # fmt: skip
