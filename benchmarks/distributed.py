"""Bytes a step, idle share and samples/s on 1 and 2 processes of one thread, and a model of them for up to 64.

    python benchmarks/distributed.py            # some 10 minutes on 2 cores; writes results/distributed.json
    python benchmarks/distributed.py --quick    # whether it runs: tiny sizes, numbers without meaning, nothing written

Every process computes on one thread, so that two processes have twice what one has. Methods take turns, round by round; run it on an otherwise
idle machine. `bp` has the readout of `local-heads`, the local rule is `dtg-ff`; both step plain SGD on the same batch.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import re
import socket
import time
import traceback
from collections import defaultdict
from dataclasses import asdict
from pathlib import Path
from statistics import median

import torch
from torch import nn

from layerlocal import Recipe, create_network, create_rule
from layerlocal.distributed import DataParallel, join
from layerlocal.distributed.layer_parallel import Stage, deal, local_segments
from layerlocal.distributed.model import BlockCost, Link, predict
from layerlocal.distributed.pipeline_bp import PipelineBP
from layerlocal.distributed.stream import Receiver, Sender
from layerlocal.environment import describe_environment
from layerlocal.train import make_optimizer, train_step

METHODS = ("data, bp", "data, local", "layers, local", "pipeline, bp")
WORKERS = (1, 2, 4, 8, 16, 32, 64)
MICRO_BATCHES = 8
RECIPE = Recipe(optimizer="sgd", learning_rate=0.01)


def made(case, method):
    network = create_network(
        case["network"],
        in_channels=3,
        image_size=32,
        width=case["width"],
        seed=0,
        channels_last=True,
        **case["options"],
    )
    return create_rule("bp" if "bp" in method else "dtg-ff", network, num_classes=10, seed=0).train()


def batch(size):
    generator = torch.Generator().manual_seed(0)
    return torch.randn(size, 3, 32, 32, generator=generator), torch.randint(0, 10, (size,), generator=generator)


def meet(group):
    group.gather(torch.zeros(1))
    group.traffic.reset()


def loopback_bytes():
    try:
        found = re.search(r"lo:\s*(.+)", Path("/proc/net/dev").read_text())
    except OSError:
        return 0
    return int(found[1].split()[8]) if found else 0


# --- one method on this process's part ---------------------------------------------------------------------------------


class Data:
    def __init__(self, group, case, method):
        self.group, self.rule = group, made(case, method)
        self.optimizer, self.x = make_optimizer(self.rule, RECIPE), batch(case["batch_size"])
        self.parallel = DataParallel(self.rule, group) if group.size > 1 else None

    def steps(self, number):
        for _ in range(number):
            if self.parallel:
                self.parallel.step(*self.x, self.optimizer)
            else:
                train_step(self.rule, *self.x, self.optimizer)
        return {"sent": self.group.traffic.sent_bytes, "waited": self.group.traffic.waited_seconds}


class Layers:
    def __init__(self, group, case, method):
        self.group, self.rule = group, made(case, method)
        self.optimizer, self.x = make_optimizer(self.rule, RECIPE), batch(case["batch_size"])
        segments = local_segments(self.rule)[1]
        part = deal(case["seconds"][method], group.size)[group.rank]
        self.receiver = Receiver(group, group.rank - 1, "cpu") if group.rank else None
        self.sender = Sender(group, group.rank + 1) if group.rank + 1 < group.size else None
        self.stage = Stage(self.rule, segments[part.start : part.stop], receiver=self.receiver, sender=self.sender)

    def steps(self, number):
        if self.receiver:
            self.receiver.expect(number)
        for _ in range(number):
            train_step(self.stage, *self.x, self.optimizer)
        if self.sender:
            self.sender.finish()
        return {"sent": self.group.traffic.sent_bytes, "waited": self.group.traffic.waited_seconds}


class Pipeline:
    def __init__(self, group, case, method):
        self.rule = made(case, method)
        self.optimizer, self.x = make_optimizer(self.rule, RECIPE), batch(case["batch_size"])
        dealt = deal(case["seconds"][method], group.size)
        self.pipeline = PipelineBP(self.rule, group, dealt, micro_batches=MICRO_BATCHES, schedule="1f1b")

    def steps(self, number):
        for _ in range(number):
            self.pipeline.forward_backward(*self.x)
            self.optimizer.step()
            self.optimizer.zero_grad(set_to_none=True)
        found = self.pipeline.spent(1)
        return {"sent": found["bytes_per_step"], "waited": found["seconds"] * found["idle_share"]}


RUNNERS = {"data": Data, "layers": Layers, "pipeline": Pipeline}


def measure(group, case, rounds, steps):
    """Every method in turn, round after round: per method the seconds of each round, and what this process sent and waited."""
    runners = {method: RUNNERS[method.partition(",")[0]](group, case, method) for method in METHODS}
    found = defaultdict(list)
    for number in range(rounds + 1):
        for method, runner in runners.items():
            meet(group)
            before, start = loopback_bytes(), time.perf_counter()
            spent = runner.steps(steps)
            meet(group)
            seconds = time.perf_counter() - start
            if number:
                found[method].append(
                    {"seconds": seconds / steps, "loopback": (loopback_bytes() - before) / steps}
                    | {key: value / steps for key, value in spent.items()}
                )
    return dict(found)


# --- what the model is made of ------------------------------------------------------------------------------------------


def ping_pong(group, tensor, number):
    start = time.perf_counter()
    for _ in range(number):
        for sender in (0, 1):
            if group.rank == sender:
                group.wait(group.start_send(tensor, 1 - sender))
            else:
                group.wait(group.start_receive(tensor, sender))
    return (time.perf_counter() - start) / (2 * number)


def measure_link(group):
    small, large = torch.zeros(2), torch.zeros(2**20)
    meet(group)
    latency = median(ping_pong(group, small, 20) for _ in range(7))
    seconds = median(ping_pong(group, large, 5) for _ in range(7))
    return asdict(Link(latency, large.nbytes / max(1e-9, seconds - latency)))


def timed_blocks(rule, x, y):
    """Seconds of each block forward and backward in one step."""
    forward, backward, started, marks = {}, {}, {}, {}

    def begin(index):
        return lambda *_: started.__setitem__(index, time.perf_counter())

    def end(index):
        def hook(_, __, out):
            forward[index] = time.perf_counter() - started[index]
            if out.requires_grad:
                out.register_hook(lambda gradient: marks.__setitem__(index, time.perf_counter()))

        return hook

    blocks = list(rule.network.blocks)
    handles = [
        h
        for i, b in enumerate(blocks)
        for h in (b.register_forward_pre_hook(begin(i)), b.register_forward_hook(end(i)))
    ]
    begun = time.perf_counter()
    for number, loss in enumerate(rule.losses(x, y)):
        whole, now = time.perf_counter() - begun, time.perf_counter()
        loss.value.backward()
        begun = time.perf_counter()
        if loss.block == "all":  # from the gradient's arrival at each block's output to that at the block before
            ends = [begun, *(marks[i] for i in range(len(blocks)))]
            backward = {i: ends[0 if i == 0 else i] - ends[i + 1] for i in range(len(blocks))}
            backward[len(blocks) - 1] += ends[-1] - now
            forward[len(blocks) - 1] += whole - sum(forward.values())
        else:
            forward[number], backward[number] = whole, begun - now
    for handle in handles:
        handle.remove()
    return [(forward[i], backward[i]) for i in range(len(blocks))]


def block_costs(group, case, rounds):
    """A `BlockCost` for each block of each method's rule: seconds at two batch sizes, bytes by counting."""
    found = {}
    for method in METHODS:
        rule = made(case, method)
        parallel = DataParallel(rule, group) if method.startswith("data") else None
        table = {}
        for size in (case["batch_size"] // 2, case["batch_size"]):
            x, y = batch(size)
            runs = []
            for number in range(rounds + 1):
                if parallel:
                    parallel._whole = [(x, y)]
                runs += [timed_blocks(parallel or rule, x, y)] if number else [timed_blocks(parallel or rule, x, y)][:0]
                rule.zero_grad()
            table[size] = [[median(run[i][side] for run in runs) for side in (0, 1)] for i in range(rule.network.depth)]
        if parallel:
            parallel.release()
        found[method] = [asdict(cost) for cost in fit(rule, table, case["batch_size"])]
    return found


def fit(rule, table, size):
    """Seconds = fixed + samples · slope, through the two sizes; a slope is at least that of the larger size without a fixed part."""
    optimizer = make_optimizer(rule, RECIPE)
    for parameter in rule.parameters():
        parameter.grad = torch.zeros_like(parameter)
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        optimizer.step()
        seconds.append(time.perf_counter() - start)
    per_number = median(seconds) / sum(p.numel() for p in rule.parameters())
    costs = []
    for index, (name, parameters) in enumerate(rule.block_parameters().items()):
        slopes, fixed = [], per_number * sum(p.numel() for p in parameters)
        for side in (0, 1):
            half, whole = table[size // 2][index][side], table[size][index][side]
            slope = min(max(0.0, (whole - half) / (size / 2)), whole / size)
            slopes.append(slope)
            fixed += whole - slope * size
        heads = getattr(rule, "heads", {})
        parts = [rule.network.blocks[index], *([heads[name]] if name in heads else [])]
        norms = [m for part in parts for m in part.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
        smooths = hasattr(heads[name], "clarity") if name in heads else False
        gathered = 16 * sum(norm.num_features for norm in norms) + 8 * smooths
        costs.append(
            BlockCost(
                slopes[0], slopes[1], fixed, gradient_bytes=4 * sum(p.numel() for p in parameters), statistics=len(norms),
                activity_bytes=4 * torch.Size(rule.network.activity_shapes[index]).numel(), statistics_bytes=gathered,
            )
        )  # fmt: skip
    return costs


# --- processes ----------------------------------------------------------------------------------------------------------


def _child(rank, size, port, pipe, function, arguments):
    os.environ |= {"RANK": str(rank), "WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    torch.set_num_threads(1)
    try:
        with join() as group:
            pipe.send(function(group, *arguments))
    except BaseException:
        pipe.send(traceback.format_exc())
        raise


def on_processes(size, function, *arguments):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    context = multiprocessing.get_context("spawn")
    started = []
    for rank in range(size):
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=_child, args=(rank, size, port, sender, function, arguments))
        process.start()
        started.append((process, receiver))
    found = [receiver.recv() for _, receiver in started]
    for process, _ in started:
        process.join()
    for part in found:
        if isinstance(part, str):
            raise SystemExit(part)
    return found


# --- the table ----------------------------------------------------------------------------------------------------------


def rows_of(case, measured, costs, link, steps):
    rows = []
    for size, parts in measured.items():
        for method in METHODS:
            seconds = [max(part[method][i]["seconds"] for part in parts) for i in range(len(parts[0][method]))]
            speeds = sorted(case["batch_size"] / value for value in seconds)
            sent = [median(entry["sent"] for entry in part[method]) for part in parts]
            idle = [median(entry["waited"] / entry["seconds"] for entry in part[method]) for part in parts]
            guess = forecast(method, case, costs, link, size, steps)
            row = {
                "network": case["network"], "width": case["width"], **case["options"], "batch_size": case["batch_size"], "method": method,
                "processes": size, "samples_per_s": median(speeds), "low": speeds[len(speeds) // 4], "high": speeds[3 * len(speeds) // 4],
                "n": len(speeds), "bytes_per_step": sent, "loopback_bytes_per_step": median(e["loopback"] for e in parts[0][method]),
                "idle_share": idle, "predicted": asdict(guess),
                "relative_error": {
                    "samples_per_s": guess.samples_per_s / median(speeds) - 1,
                    "bytes_per_step": guess.sent_bytes / max(sent) - 1 if max(sent) else 0.0,
                    "idle_share_difference": guess.idle_share - sum(idle) / len(idle),
                },
            }  # fmt: skip
            rows.append(row)
            print(f"{case['network']} {method:<13} {size} processes: {row['samples_per_s']:8.1f} samples/s (model {guess.samples_per_s:8.1f}), "
                  f"{max(sent) / 2**20:7.3f} MiB a step (model {guess.sent_bytes / 2**20:7.3f}), "
                  f"idle {sum(idle) / len(idle):.1%} (model {guess.idle_share:.1%})", flush=True)  # fmt: skip
    return rows


def forecast(method, case, costs, link, size, steps):
    blocks = [BlockCost(**cost) for cost in costs[method]]
    return predict(
        method,
        blocks,
        Link(**link),
        processes=size,
        batch_size=case["batch_size"],
        micro_batches=MICRO_BATCHES,
        steps=steps,
    )


def run_case(case, link, rounds, steps, measured_on):
    costs = on_processes(1, block_costs, case, rounds)[0]
    at_once = {method: case["batch_size"] // (MICRO_BATCHES if "pipeline" in method else 1) for method in METHODS}
    case = case | {"seconds": {m: [BlockCost(**c).seconds(at_once[m]) for c in costs[m]] for m in METHODS}}
    measured = {size: on_processes(size, measure, case, rounds, steps) for size in measured_on}
    ahead = []
    for method in METHODS:
        for size in WORKERS:
            guess = forecast(method, case, costs, link, size, None)
            ahead.append(
                {"network": case["network"], "method": method, "processes": size}
                | (asdict(guess) if guess else {"impossible": True})
            )
    return {"rows": rows_of(case, measured, costs, link, steps), "forecast": ahead, "costs": costs}


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--out", type=Path, default=Path("results/distributed.json"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    quick = arguments.quick
    rounds, steps = (2, 2) if quick else (7, 6)
    cases = [
        {"network": "vgg8", "width": 0.125 if quick else 0.5, "batch_size": 16 if quick else 64, "options": {}},
        {
            "network": "plain",
            "width": 0.125 if quick else 0.25,
            "batch_size": 16 if quick else 32,
            "options": {"depth": 8 if quick else 64},
        },
    ]
    link = on_processes(2, measure_link)[0]
    print(
        f"between two processes: {1e6 * link['latency_seconds']:.0f} µs, {link['bytes_per_second'] / 2**20:.0f} MiB/s"
    )
    found = [run_case(case, link, rounds, steps, (1, 2)) for case in cases]
    content = {
        "command": "python benchmarks/distributed.py" + " --quick" * quick,
        "environment": describe_environment(),
        "link": link,
        "micro_batches": MICRO_BATCHES,
        "steps_a_round": steps,
        "rows": [row for part in found for row in part["rows"]],
        "forecast": [row for part in found for row in part["forecast"]],
    }
    if quick and arguments.out == parser.get_default("out"):
        print("quick: nothing is written")
        return
    arguments.out.write_text(json.dumps(content, indent=1) + "\n")
    print(f"written: {arguments.out}")


if __name__ == "__main__":
    main()
