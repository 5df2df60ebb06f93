"""A certificate for any training step: how far credit travels in it, what it keeps for backward, what it costs.

`certify` runs the step from one state again and again. `holdings` finds and puts back what the step changes, `groups` reads the division,
`running` perturbs one group after another, `backwards` and `twin` count the step and its end-to-end twin, `verdict` says it in words;
`loading` reads a step from a file.
"""

from layerlocal.measure.certify.api import certify as certify
from layerlocal.measure.certify.loading import certify_file as certify_file

__all__ = ["certify", "certify_file"]
