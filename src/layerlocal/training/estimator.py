"""`LayerLocalClassifier`: layer-local learning as a scikit-learn estimator. Needs the extra ``sklearn``."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

try:
    from sklearn.base import BaseEstimator, ClassifierMixin
    from sklearn.utils import check_random_state
    from sklearn.utils.multiclass import check_classification_targets
    from sklearn.utils.validation import check_is_fitted, validate_data
except ImportError as error:
    raise ImportError(
        "LayerLocalClassifier needs scikit-learn 1.6 or newer; pip install 'layerlocal[sklearn]'"
    ) from error

from layerlocal.data import data_from_arrays
from layerlocal.data.arrays import as_samples
from layerlocal.data.labels import plain_labels
from layerlocal.devices import Device
from layerlocal.networks import Network
from layerlocal.options import whole_number
from layerlocal.rules import Rule
from layerlocal.spec import Recipe, RunSpec
from layerlocal.training.fit import Fitted, fit
from layerlocal.training.start import Start
from layerlocal.training.train import EpochRecord
from layerlocal.types import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

__all__ = ["LayerLocalClassifier"]

PREDICTION_BATCH = 512
EXAMPLES = {"recipe_options": '"clip": 1.0', "network_options": '"depth": 2', "rule_options": '"grid": 2'}
OPTIONS = tuple(EXAMPLES)


class LayerLocalClassifier(ClassifierMixin, BaseEstimator):
    """A neural network trained by a layer-local rule, for arrays.

    Vectors (N, D) of any scale and images (N, C, H, W), (N, H, W, C) or (N, H, W), square; uint8 images are pixels 0..255. Inputs are
    normalized by the statistics of the training rows. Values mean what they meant in fit, whatever their type; images on another scale
    are refused (`layerlocal.scale`). With an integer ``random_state`` two fits are bit-equal (CPU, one thread count).

    Args:
        rule: a name of `list_rules()` or ``FILE.py:CLASS``.
        network: a name of `list_networks()` or ``FILE.py:FUNCTION``; ``"auto"``: `network_for` the data, ``"mlp"`` for vectors and
            ``"vgg8"`` for images; or a `Network`, of which every fit trains a copy, from the weights that it has.
        width: factor on the widths of a network by name.
        start: weights that every fit starts from, as in `fit`: what that gave, a rule (``model.rule_``), a network, any other module that has
            the network's blocks, or a file. With ``network="auto"`` the network is a copy of that of the first three. The start is not trained.
        blocks: what each block does, as in `fit`: ``"2 frozen, 2 local"``, or a list of such words; all as the rule has it where left out.
        epochs: passes over the training rows.
        batch_size: samples a step; as many as there are where there are fewer.
        learning_rate: peak of the schedule.
        validation_fraction: share of the rows held out, stratified, to watch the accuracy and to fit the fusion (``fusion="fitted"``).
        recipe_options: other fields of `Recipe`: ``weight_decay``, ``micro_batches``, ``crop``, ...
        network_options: of the network: ``depth``, ``hidden``, ...
        rule_options: of the rule: ``grid``, ``fusion``, ... A search may name one option of the three: ``rule_options__grid``.
        random_state: seed, generator or ``None``, as everywhere in scikit-learn.
        device: ``"cpu"``, ``"cuda"`` or ``"cuda:N"``, or the `torch.device` of it.
        verbose: print a line an epoch.

    Attributes:
        classes_: (K,) the labels, sorted.
        n_features_in_: D, or the second axis of images.
        n_iter_: epochs trained.
        records_: one `EpochRecord` an epoch.
        rule_: the trained rule.

    Example:
        >>> from sklearn.datasets import load_iris
        >>> X, y = load_iris(return_X_y=True)
        >>> model = LayerLocalClassifier(width=0.25, random_state=0).fit(X, y)
        >>> model.predict_proba(X[:2]).shape, bool(model.score(X, y) > 0.9)
        ((2, 3), True)
    """

    classes_: np.ndarray

    def __init__(
        self,
        rule: str = "class-goodness",
        *,
        network: str | Network = "auto",
        width: float = 1.0,
        start: Fitted | Start | None = None,
        blocks: str | Sequence[str] | None = None,
        epochs: int = 20,
        batch_size: int = 32,
        learning_rate: float = 2e-3,
        validation_fraction: float = 0.0,
        recipe_options: Mapping[str, Any] | None = None,
        network_options: Mapping[str, Any] | None = None,
        rule_options: Mapping[str, Any] | None = None,
        random_state: int | np.random.RandomState | None = None,
        device: Device = "cpu",
        verbose: bool = False,
    ) -> None:
        self.rule = rule
        self.network = network
        self.width = width
        self.start = start
        self.blocks = blocks
        self.epochs = epochs
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.recipe_options = recipe_options
        self.network_options = network_options
        self.rule_options = rule_options
        self.random_state = random_state
        self.device = device
        self.verbose = verbose

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """All parameters; with ``deep`` also the options of rule, network and recipe that are set, as ``rule_options__grid``."""
        found: dict[str, Any] = super().get_params(deep=False)
        groups = [group for group in OPTIONS if deep and isinstance(found[group], Mapping)]
        return found | {f"{group}__{name}": value for group in groups for name, value in found[group].items()}

    def set_params(self, **params: Any) -> LayerLocalClassifier:
        """Set parameters, and single options as ``rule_options__grid=2``: the other options stay.

        Raises:
            ValueError: an unknown parameter. What rule, network and recipe do not know they refuse in `fit`.
        """
        plain = {
            name: value for name, value in params.items() if name.partition("__")[0] not in OPTIONS or "__" not in name
        }
        super().set_params(**plain)
        for key in params.keys() - plain.keys():
            group, _, name = key.partition("__")
            setattr(self, group, self._options(group) | {name: params[key]})
        return self

    def fit(self, X: ArrayLike, y: ArrayLike) -> LayerLocalClassifier:
        """Train a fresh network on samples X and their labels y (N,).

        Raises:
            InputError: a parameter, or data, that do not fit.
        """
        y = None if y is None else plain_labels(y)
        X, y = validate_data(self, X, y, allow_nd=True)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        self._refuse_one_row(np.asarray(y))
        data = data_from_arrays(X, y, validation=self.validation_fraction, seed=seed)
        fitted = fit(
            self._rule(), data, self._recipe(len(data.train)), start=self._start(), blocks=self.blocks, seed=seed, device=self.device,
            on_epoch=self._print if self.verbose else None, **self._network(), **self._options("rule_options"),
        )  # fmt: skip
        self.rule_ = fitted.rule
        self.records_ = fitted.records
        self.n_iter_ = len(fitted.records)
        self._mean, self._std, self._scale = data.mean, data.std, data.scale
        module = self.to_module()
        self._scorer = module.double() if len(data.sample_shape) == 1 else module
        return self

    def to_module(self) -> nn.Module:
        """The trained network as a plain module: raw samples (B, D) or (B, C, H, W) → scores (B, K), in the order of ``classes_``.

        It takes values as `Fitted.to_module` does.
        """
        check_is_fitted(self)
        return self.rule_.to_module(mean=self._mean, std=self._std, scale=self._scale)

    def decision_function(self, X: ArrayLike) -> np.ndarray:
        """The fused scores (N, K); for two classes the second's minus the first's (N,)."""
        scores = self._scores(X).numpy()
        return scores[:, 1] - scores[:, 0] if len(self.classes_) == 2 else scores

    def predict_proba(self, X: ArrayLike) -> np.ndarray:
        """(N, K): the softmax of the fused scores. Rows sum to 1; nothing has calibrated them."""
        return self._scores(X).softmax(1).numpy()

    def predict(self, X: ArrayLike) -> np.ndarray:
        """(N,) of ``classes_``: the class of the highest score."""
        best = self._scores(X).argmax(1).numpy()
        return self.classes_[best]

    @torch.no_grad()
    def _scores(self, X: ArrayLike) -> Tensor:
        """(N, K) in double precision. Vectors are also scored in it, so that an answer does not depend on the batch that it came in."""
        check_is_fitted(self)
        X = validate_data(self, X, reset=False, allow_nd=True)
        samples = as_samples(X)
        shape = self.rule_.network.sample_shape
        if samples.shape[1:] != shape:
            raise InputError(f"samples of shape {shape} are expected, as in fit, got {tuple(samples.shape[1:])}")
        self._scale.refuse_type(torch.bool if np.asarray(X).dtype == bool else samples.dtype)
        self._scale.refuse_values(samples)
        size = max(1, PREDICTION_BATCH // self.rule_.passes_per_prediction)
        device = next(self.rule_.parameters()).device
        return torch.cat([self._scorer(part.to(device)).cpu().double() for part in samples.split(size)])

    def _rule(self) -> str:
        if isinstance(self.rule, Rule):
            raise InputError(
                f"rule is a {type(self.rule).__name__} that is made already; give its name or its class, so that every fit starts afresh"
            )
        return self.rule

    def _recipe(self, rows: int) -> Recipe:
        content: dict[str, Any] = {"epochs": self.epochs, "learning_rate": self.learning_rate}
        content["batch_size"] = min(whole_number("batch_size", self.batch_size), rows)
        return RunSpec.parse({"recipe": content | self._options("recipe_options")}).recipe

    def _network(self) -> dict[str, Any]:
        """The arguments of `fit` that say which network; a made one is copied, so that neither it nor the next fit knows of this one."""
        options = self._options("network_options")
        if not isinstance(self.network, Network):
            network = None if isinstance(self.network, str) and self.network == "auto" else self.network
            width = None if self.width == 1.0 else self.width  # that of a start's own network is never given
            return {"network": network, "width": width, "network_options": options}
        if self.width != 1.0 or options:
            raise InputError(
                "width and network_options are for a network by name; this one is made already: leave them out"
            )
        return {"network": copy.deepcopy(self.network)}

    def _start(self) -> Fitted | Start | None:
        """A classifier is cloned without what it learned, and so would be one that stands here."""
        if isinstance(self.start, LayerLocalClassifier):
            raise InputError("start is a LayerLocalClassifier, of which a clone forgets the weights; give its rule_")
        return self.start

    def _options(self, group: str) -> dict[str, Any]:
        given = getattr(self, group)
        if given is not None and not isinstance(given, Mapping):
            raise InputError(f"{group} must be a dictionary such as {{{EXAMPLES[group]}}}, or None, got {given!r}")
        return dict(given or {})

    def _refuse_one_row(self, y: np.ndarray) -> None:
        """A class of one row cannot be both learned and held out."""
        classes, counts = np.unique(y, return_counts=True)
        if self.validation_fraction and counts.min() == 1:
            raise InputError(
                f"class {classes[counts.argmin()]!s} has only 1 row, too few to hold some out; add rows of it, leave the class out, or set "
                "validation_fraction=0"
            )

    def _print(self, record: EpochRecord) -> None:
        loss = sum(record.losses.values()) / len(record.losses)
        held_out = f", validation accuracy {record.validation.accuracy:.1%}" if record.validation is not None else ""
        print(f"epoch {record.epoch}/{self.epochs}: mean loss {loss:.4f}{held_out}")
