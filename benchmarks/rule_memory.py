"""What each rule keeps and computes in a training step, against backprop on the same fused network: counted, not timed.

    python benchmarks/rule_memory.py    # a minute or two on 2 cores; writes results/rule_memory.json

`vgg8` at width 1 for ten classes, 32×32 pixels, batches of 32, rules at their defaults. Rules that deal channels to the classes need ten
classes to divide the channels: they and their backprop have width 1.25. A rule that not every network will do for, and its backprop, have the
one that it is tried on. Both counts are exact, so there is no interval.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch

from layerlocal import create_network, create_rule, measure_flops, measure_saved_bytes
from layerlocal.rules import find_rule, list_rules
from layerlocal.runs.environment import describe_environment

SIDE, SIZE, CLASSES = 32, 32, 10


def network_of(name):
    """Network and width for a rule."""
    info = find_rule(name).info
    return info.tried_on or "vgg8", 1.25 if info.channel_groups else 1.0


def counted(name, of, width, batch=SIZE):
    """Peak saved bytes and FLOPs of one step of a rule."""
    network = create_network(of, in_channels=3, image_size=SIDE, width=width, seed=0, channels_last=True, fused=True)
    rule = create_rule(name, network, num_classes=CLASSES, seed=0).train()
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(batch, 3, SIDE, SIDE, generator=generator)
    y = torch.randint(0, CLASSES, (batch,), generator=generator)
    return measure_saved_bytes(rule, x, y) | measure_flops(rule, x, y)


def rows(names=None):
    """One row a rule, with its ratios to backprop of the same network."""
    names = names or list_rules()
    bp = {place: counted("bp", *place) for place in {network_of(name) for name in names}}
    for name in names:
        of, width = network_of(name)
        found = counted(name, of, width)
        ratios = {f"{key}_ratio": found[key] / bp[of, width][key] for key in ("peak_saved_bytes", "flops_per_step")}
        print(f"{name:<16}{found['peak_saved_bytes'] / 1e6:7.1f} MB", {k: round(v, 2) for k, v in ratios.items()})
        yield {
            "rule": name,
            "network": of,
            "width": width,
            "image_size": SIDE,
            "batch_size": SIZE,
            **found,
            **ratios,
        }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("results/rule_memory.json"))
    out = parser.parse_args().out
    content = {
        "command": "python benchmarks/rule_memory.py",
        "environment": describe_environment("cpu"),
        "rows": list(rows()),
    }
    out.write_text(json.dumps(content, indent=1) + "\n")
