"""The lines of `gpu_protocol.py` as text."""

from __future__ import annotations

from statistics import mean, median, stdev


def summary(rows, targets):
    """What the tests said, speed and memory over backprop's, and accuracy and times of every method."""
    tests = [row for row in rows if row["part"] == "tests"]
    parts = [f"tests: {_tests(row)}" for row in tests[-1:]]
    speed = [row for row in rows if row["part"] == "speed"]
    parts += ["\n".join(["speed of a step and memory, over backprop's:", *map(_speed, speed)])] if speed else []
    finished = [row for row in rows if row["part"] == "accuracy" and not row["cut"]]
    for data in dict.fromkeys(row["data"] for row in finished):
        of_data = [row for row in finished if row["data"] == data]
        lines = [
            f"{data}: test accuracy, by the last block, with test-time augmentation; seconds a run; median seconds to the accuracy (held out)"
        ]
        lines += [
            _method(method, [row for row in of_data if row["method"] == method])
            for method in dict.fromkeys(row["method"] for row in of_data)
        ]
        parts.append("\n".join(lines))
    cut = sum(row["part"] == "accuracy" and row["cut"] for row in rows)
    return "\n\n".join([*parts, *([f"{cut} runs were cut off"] if cut else [])]) or "no results"


def _tests(row):
    said = (row["tail"].strip().splitlines() or ["nothing"])[-1]
    return f"{said} (exit code {row['returncode']})" + "".join(f"\n  failed: {name}" for name in row["failed"])


def _speed(row):
    name = row["rule"] + (", compiled" if row["compiled"] else "")
    if "samples_per_s" not in row:
        return f"  {name:<26}{row.get('failed') or row.get('skipped')}"
    ratio = row["speed_ratio"]
    memory = (
        f"{row['allocated_bytes'] / 1e6:9.0f} MB allocated, {row['allocated_ratio']:.2f} x"
        if row["allocated_bytes"]
        else ""
    )
    return f"  {name:<26}{row['samples_per_s']:11.0f}/s  {ratio['median']:.2f} x [{ratio['low']:.2f}, {ratio['high']:.2f}]  {memory}"


def _method(method, rows):
    tests = [(_percent([row["test"] for row in rows])), _percent([row["test_blocks"][-1] for row in rows])]
    tests.append(_percent([row["test_augmented"] for row in rows]))
    times = []
    for kind, word in (("validation", "plain"), ("augmented", "augmented")):
        for target in rows[0][f"to_{kind}"]:
            found = [row[f"to_{kind}"][target] for row in rows if row[f"to_{kind}"][target] is not None]
            shown = f"{median(found):.1f} s ({len(found)} of {len(rows)})" if found else "never"
            times.append(f"{100 * float(target):g} % {word}: {shown}")
    seconds = median(row["train_seconds"] for row in rows)
    return f"  {method:<12} {', '.join(tests)}  n={len(rows)}  {seconds:.1f} s  " + "; ".join(times)


def _percent(values):
    spread = f" ± {100 * stdev(values):.2f}" if len(values) > 1 else ""
    return f"{100 * mean(values):.2f}{spread} %"
