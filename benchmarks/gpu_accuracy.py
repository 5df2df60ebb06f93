"""CIFAR on `speedrun` with the recipe of arXiv:2404.00498: each method, seed after seed, seconds to an accuracy; part of `gpu_protocol.py`."""

from __future__ import annotations

import time

import torch
import torch.nn.functional as F
from gpu_data import NAMES, read

from layerlocal import Batches, Recipe, create_network, create_rule
from layerlocal.training.evaluate import evaluate_split
from layerlocal.training.train import Training

CONV = {"head": "conv", "head_layers": 2, "head_width": 96, "head_reduction": 1, "readout": "max", "grid": 1}
"""Two 3×3 convolutions at the block's own resolution, the largest of each channel, a linear map."""
METHODS = {
    "bp": ("bp", {"readout": "max", "grid": 1}, 1.0),
    "local-heads": ("local-heads", CONV, 1.0),
    "bp-deepsup": ("bp-deepsup", CONV, 0.4),
    "committee": ("committee", {"wide": True, "head_width": 64, "head_side": 16}, 1.0),
}
"""Method → rule, its options, and its learning rate over backprop's. `bp` has the paper's own head; `bp-deepsup` is the twin of `local-heads`,
and sums six losses: at backprop's rate it did not begin to learn."""
TARGETS = {"cifar10": (0.90, 0.92, 0.94), "cifar100": (0.60, 0.65, 0.70)}
BATCH = 500
"""Half the published 1,024, at whose rate (1.5) the losses of the later blocks of `local-heads` rose at first."""
RATE, DECAY, MOMENTUM = 11.5, 0.0153, 0.85
"""As published: per 1,024 summed losses, over how much larger steps of Nesterov momentum are than a gradient (`recipe_of`)."""
SMOOTHING = 0.2
UNKNOWN_SECONDS = 45.0
"""Taken for a run of which nothing is known yet."""


def recipe_of(factor, epochs, precision, batch=BATCH):
    """Of means over a batch, where the paper's are of sums: the same step a sample. L2 on the means, which the rate then multiplies."""
    scale = 1024 * (1 + 1 / (1 - MOMENTUM))
    return Recipe(
        epochs=epochs, batch_size=batch, optimizer="sgd", momentum=MOMENTUM, learning_rate=factor * RATE * batch / scale,
        weight_decay=DECAY / scale, schedule="triangular", warmup=0.23, norm_rate=64.0, average_every=5, crop=2, flip="alternating",
        precision=precision,
    )  # fmt: skip


def training_of(method, data, seed, device, *, epochs, precision, smoke=False, **fields):
    """A run, before its first step."""
    rule, options, factor = METHODS[method]
    network = create_network(
        "speedrun", in_channels=data.in_channels, image_size=data.image_size, width=0.0625 if smoke else 1.0, seed=seed, channels_last=True
    )  # fmt: skip
    options = (
        options | {"label_smoothing": SMOOTHING} | ({"head_width": 8} if smoke and "head_width" in options else {})
    )
    made = create_rule(rule, network, num_classes=data.num_classes, seed=seed, **options)
    recipe = recipe_of(factor, epochs, precision, 64 if smoke else BATCH).model_copy(update=fields)
    return Training(made, data, recipe, seed=seed, device=device)


@torch.no_grad()
def augmented_accuracy(rule, data, split, device):
    """Of the mean score of an image and its two shifts along the diagonal, all also mirrored; both shifts weigh as much as the image."""
    batches = Batches(
        split,
        batch_size=500,
        mean=data.mean,
        std=data.std,
        shuffle=False,
        device=device,
        channels_last=rule.network.channels_last,
    )
    rule.eval()
    right = []
    for x, y in batches.epoch(0):
        side, wide = x.shape[-1], F.pad(x, (1, 1, 1, 1), mode="reflect")
        views = (x, 0.5), (wide[..., :side, :side], 0.25), (wide[..., 2:, 2:], 0.25)
        scores = sum(weight * rule.scores(view) for each, weight in views for view in (each, each.flip(-1)))
        right.append((scores.argmax(1) == y).sum())
    return float(torch.stack(right).sum()) / len(split)


def run(method, data, seed, device, budget, **options):
    """One run, epoch after epoch; ``cut`` where the time ended before it."""
    training = training_of(method, data, seed, device, **options)
    epochs, seconds, last = [], 0.0, 0.0
    while not training.finished:
        if budget.left() < 1.5 * last:
            break
        start = time.monotonic()
        record = training.run_epoch()
        seconds += record.seconds
        found = {
            "seconds": seconds,
            "validation": record.validation.accuracy,
            "blocks": list(record.validation.block_accuracies.values()),
        }
        found["augmented"] = augmented_accuracy(training.rule, data, data.validation, device)
        epochs.append(found)
        last = time.monotonic() - start
    row = {
        "data": data.name,
        "method": method,
        "seed": seed,
        "epochs": epochs,
        "train_seconds": seconds,
        "cut": not training.finished,
    }
    targets = TARGETS.get(data.name, (0.5,))
    row |= {f"to_{kind}": {f"{t:g}": reached(epochs, kind, t) for t in targets} for kind in ("validation", "augmented")}
    if training.finished:
        split = data.take_test()  # once
        tested = evaluate_split(training.rule, data, split, device=device)
        row |= {"test": tested.accuracy, "test_blocks": list(tested.block_accuracies.values()),
                "test_augmented": augmented_accuracy(training.rule, data, split, device)}  # fmt: skip
    return row


def reached(epochs, kind, target):
    """Seconds at the end of the first epoch with as much accuracy; ``None``: never."""
    return next((epoch["seconds"] for epoch in epochs if epoch[kind] >= target), None)


def runs(given, device, budget):
    """Rows of finished runs: a seed of every method on every data set, then the next seed; a run that would not be done in time is left out."""
    names = ["fashion_mnist_subset"] if given.smoke and given.data is None else given.names
    options = {"epochs": given.epochs, "precision": given.precision, "smoke": given.smoke}
    tasks = {name: read(given.data, name, device, num_train=300 if given.smoke else None) for name in names}
    took = {}
    for seed in range(1 if given.smoke else given.seeds):
        fitted = False
        for name, data in tasks.items():
            for method in given.methods:
                key = name, method
                guess = 2 * max(took.values(), default=0.0) or (1.0 if given.smoke else UNKNOWN_SECONDS)
                if budget.left() < 1.1 * took.get(key, guess):
                    continue
                start = time.monotonic()
                if key not in took and not given.smoke:  # kernels are chosen and loaded outside of the clock
                    training_of(method, data, seed, device, **options | {"epochs": 1}, steps=3).run_epoch()
                row = run(method, data, seed, device, budget, **options)
                took[key] = time.monotonic() - start
                fitted = True
                yield row | {"data": name}
        if not fitted:
            return


assert set(TARGETS) == set(NAMES)
