"""Points of a search are SciPy's, to the last bit."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import qmc

from layerlocal.experiments.tune.sobol import DIRECTIONS, sobol_shares


@pytest.mark.parametrize("dimensions", [*range(1, len(DIRECTIONS) + 2), 40])
@pytest.mark.parametrize("number", [0, 1, 2, 7, 64, 100])
def test_points_are_those_of_scipy(dimensions, number):
    whole = qmc.Sobol(dimensions, scramble=True, seed=np.random.default_rng(5)).random_base2(7)
    found = sobol_shares(dimensions, number, np.random.default_rng(5))
    np.testing.assert_array_equal(found, whole[:number])
    assert found.shape == (number, dimensions)
