"""The loop, the optimizer, evaluation, and what hides them: `fit` and a scikit-learn estimator."""
