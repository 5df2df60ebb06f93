"""Published statements as data, and the test that judges each one. Imports no torch.

`load_claims` first (they are then fixed, with a hash), `judge` second, all of them together;
`load_accuracies` and `compare_accuracies` for published figures.
"""

from layerlocal.claims.accuracies import Accuracy as Accuracy
from layerlocal.claims.accuracies import compare_accuracies as compare_accuracies
from layerlocal.claims.accuracies import load_accuracies as load_accuracies
from layerlocal.claims.claim import Claim as Claim
from layerlocal.claims.claim import ClaimSet as ClaimSet
from layerlocal.claims.claim import claims_hash as claims_hash
from layerlocal.claims.judge import judge as judge
from layerlocal.claims.judge import least_seeds as least_seeds
from layerlocal.claims.loading import load_claims as load_claims
from layerlocal.claims.measured import COST_STUDY as COST_STUDY
from layerlocal.words import VERDICTS as VERDICTS

__all__ = [
    "COST_STUDY", "VERDICTS", "Accuracy", "Claim", "ClaimSet", "claims_hash", "compare_accuracies", "judge", "least_seeds",
    "load_accuracies", "load_claims",
]  # fmt: skip
