"""How often intervals of a paired difference hold the truth: planted seeds and planted images, where the truth is known.

    python benchmarks/interval_coverage.py    # minutes; writes results/interval_coverage.json and prints both tables of docs/report.md

Answers are drawn, right or wrong, of two methods on N images with n seeds: a method answers rightly where its skill, a normal number with
the image's difficulty (shared by both), what this image is to this method, the seed's luck and an answer's own chance in it, is above 0.
So the true difference of accuracies, over all seeds and images, is Φ(μ_A/τ) − Φ(μ_B/τ), τ² the sum of the four variances.
`layerlocal.sampling` has the estimator.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from layerlocal.sampling import image_error, pooled_spread, share
from layerlocal.stats import estimate

SEEDS = (3, 5, 10)
KINDS = ("seeds", "images", "the wider one", "both")
MU = (0.9, 0.75)
"""Of the two methods, in units of τ: 81.6 and 77.3 % right."""


@dataclass(frozen=True)
class World:
    """Where chance comes from, as variances of a skill.

    Args:
        difficulty: of an image, for both methods alike.
        image: of an image, for one method alone.
        seed: of a seed, for one method alone.
        chance: of a single answer.
        overlap: share of its images that a seed has with every other; 1: the same test split for all.
    """

    difficulty: float
    image: float
    seed: float
    chance: float
    overlap: float = 1.0

    @property
    def truth(self) -> float:
        """The difference of accuracies."""
        return float(ndtr(MU[0]) - ndtr(MU[1]))


WORLDS = {
    "seeds": World(difficulty=1.0, image=0.1, seed=0.02, chance=0.3),
    "seeds and images alike": World(difficulty=1.0, image=0.5, seed=0.004, chance=0.3),
    "more of seeds, alike at n = 10": World(difficulty=1.0, image=0.5, seed=0.013, chance=0.3),
    "images": World(difficulty=1.0, image=1.0, seed=0.0, chance=0.05),
    "single answers": World(difficulty=1.0, image=0.0, seed=0.0, chance=1.0),
    "images, half of them shared": World(difficulty=1.0, image=1.0, seed=0.0, chance=0.05, overlap=0.5),
    "images, drawn anew by each seed": World(difficulty=1.0, image=1.0, seed=0.0, chance=0.05, overlap=0.0),
}


def draw(
    world: World, n: int, images: int, repeats: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Of each repeat the differences d (n, N) in {−1, 0, 1} and the places (n, N) of the images."""
    tau = np.sqrt(world.difficulty + world.image + world.seed + world.chance)
    common = round(world.overlap * images)
    places = np.stack([np.r_[:common, common + s * (images - common) + np.arange(images - common)] for s in range(n)])
    total = int(places.max()) + 1
    for _ in range(repeats):
        difficulty = rng.normal(size=total, scale=np.sqrt(world.difficulty))
        right = []
        for mu in MU:
            of_image = difficulty + rng.normal(size=total, scale=np.sqrt(world.image))
            luck = rng.normal(size=(n, 1), scale=np.sqrt(world.seed))
            own = rng.normal(size=(n, images), scale=np.sqrt(world.chance))
            right.append(mu * tau + of_image[places] + luck + own > 0)
        yield right[0].astype(float) - right[1], places


def coverage(world: World, n: int, *, images: int = 400, repeats: int = 4000, seed: int = 0) -> dict[str, float]:
    """Share of nominal 95 % intervals that hold the truth, by kind of interval."""
    rng, held = np.random.default_rng([seed, n]), dict.fromkeys(KINDS, 0)
    for d, places in draw(world, n, images, repeats, rng):
        means = d.mean(1)
        apart = abs(means.mean() - world.truth)
        seeds = estimate(means)
        over_seeds = seeds["high"] - seeds["mean"]
        over_images = 1.96 * _error_of_images(d, places)
        found = estimate(means, images=image_error([share(*one, "test") for one in zip(d, places, strict=True)]))
        held["seeds"] += apart <= over_seeds
        held["images"] += apart <= over_images
        held["the wider one"] += apart <= max(over_seeds, over_images)
        held["both"] += found["low"] <= world.truth <= found["high"]
    return {kind: number / repeats for kind, number in held.items()}


def _error_of_images(d: np.ndarray, places: np.ndarray) -> float:
    """sd/√N of what images add to the mean, over all images that any seed was tested on."""
    total = int(places.max()) + 1
    added = np.bincount(places.ravel(), (d / d.size).ravel(), minlength=total)
    return float(added.std(ddof=1) * np.sqrt(total))


# --- one spread for several cells -------------------------------------------------------------------------------------

SPREADS = {
    "alike": (1.0, 1.0, 1.0, 1.0, 1.0),
    "alike, half of it shared by the cells of a seed": (1.0, 1.0, 1.0, 1.0, 1.0),
    "from 1 to 1.5": (1.0, 1.1, 1.2, 1.35, 1.5),
    "from 1 to 3": (1.0, 1.3, 1.7, 2.3, 3.0),
    "one of five is 3": (1.0, 1.0, 1.0, 1.0, 3.0),
}


def pooled_coverage(name: str, n: int, *, repeats: int = 4000, seed: int = 0) -> dict[str, float]:
    """Of intervals over seeds alone: what each cell's own spread covers; what one covers that is pooled where the test lets it, in the
    mean and in the worst cell; how often cells were pooled; how wide the intervals are beside their own, in the mean.
    """
    rng, spreads = np.random.default_rng([seed, n]), np.array(SPREADS[name])[:, None]
    held, own, pooled, widths = np.zeros(len(spreads)), np.zeros(len(spreads)), 0, []
    for _ in range(repeats):
        values = rng.normal(size=(len(spreads), n))
        if "shared" in name:
            values = np.sqrt(0.5) * values + np.sqrt(0.5) * rng.normal(size=(1, n))
        values = values * spreads
        common = pooled_spread(values)
        pooled += common is not None
        for cell, mine in enumerate(values):
            alone = estimate(mine)
            found = alone if common is None else estimate(mine, pooled=common[:2])
            held[cell] += found["low"] <= 0 <= found["high"]
            own[cell] += alone["low"] <= 0 <= alone["high"]
            widths.append((found["high"] - found["low"], alone["high"] - alone["low"]))
    wide, alone_wide = np.mean(widths, axis=0)
    held, own = held / repeats, own / repeats
    return {
        "own": float(own.mean()), "pooled": float(held.mean()), "worst": float(held.min()), "how often": pooled / repeats,
        "width": float(wide / alone_wide),
    }  # fmt: skip


def measured(repeats: int = 4000, images: int = 400) -> dict[str, Any]:
    """Everything, as ``results/interval_coverage.json`` has it."""
    return {
        "command": "python benchmarks/interval_coverage.py",
        "repeats": repeats,
        "images": images,
        "worlds": {
            name: {str(n): coverage(world, n, images=images, repeats=repeats) for n in SEEDS}
            for name, world in WORLDS.items()
        },
        "spreads": {name: {str(n): pooled_coverage(name, n, repeats=repeats) for n in SEEDS} for name in SPREADS},
    }


def tables(found: Mapping[str, Any]) -> str:
    """Both tables as Markdown: in every cell n = 3, 5 and 10."""
    columns = {"own": 100, "pooled": 100, "worst": 100, "how often": 100, "width": 1}
    heads = ("| chance comes from | seeds alone | images alone | the wider one | both |", "|---|---|---|---|---|")
    lines = [*heads, *_lines(found["worlds"], dict.fromkeys(KINDS, 100))]
    heads = (
        "| true spreads of five cells | own | pooled | worst cell | pooled how often | width ÷ own |",
        "|---|---|---|---|---|---|",
    )
    return "\n".join([*lines, "", *heads, *_lines(found["spreads"], columns)])


def _lines(found: Mapping[str, Any], columns: Mapping[str, int]) -> Iterator[str]:
    for name, by_n in found.items():
        cells = [
            " / ".join(f"{scale * one[key]:.{1 if scale > 1 else 2}f}" for one in by_n.values())
            for key, scale in columns.items()
        ]
        yield f"| {name} | {' | '.join(cells)} |"


if __name__ == "__main__":
    result = measured()
    (Path(__file__).parents[1] / "results/interval_coverage.json").write_text(json.dumps(result, indent=1) + "\n")
    print(tables(result))
