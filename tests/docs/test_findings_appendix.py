"""The appendix of the findings: every table, interval and list of blocks in it is one of the files of `results/` that its section rests on."""

from __future__ import annotations

import json
import re
import sys
from functools import cache

import numpy as np
import pytest

from documents import FENCED, ROOT
from layerlocal.stats import estimate
from layerlocal.summary import Summary
from layerlocal.words import difference

APPENDIX, START = ROOT / "docs/findings-appendix.md", ROOT / "docs/start.md"
WIDE = "cosine_wide-True_head_width-64"
TUNED = ("tuned", "tuned_long", "tuned_cifar100_long", "tuned_cosine_long", "tuned_dtg-ff_long", "tuned_dtg-ff_cosine_long",
         f"tuned_{WIDE}_long", f"tuned_cifar100_{WIDE}_borrowed_long", f"tuned_fashion_mnist_{WIDE}_long",
         f"tuned_fashion_mnist_{WIDE}_borrowed_long")  # fmt: skip
RESTS_ON = {
    "Read this first": (),
    "Accuracy": ("study-accuracy-quick",),
    "Number of classes": ("study-classes-medium", "study-classes-quick"),
    "Label hierarchy": ("study-hierarchy-quick", "study-hierarchy-medium"),
    "Depth and modules": ("study-depth-quick", "study-depth-medium"),
    "The CPU protocol": ("cpu_protocol", f"tuned_fashion_mnist_{WIDE}_borrowed_long", "tuned_dtg-ff_cosine_long"),
    "The same at one setting for all": ("cpu_protocol_one_setting",),
    "Each at its best": (
        *TUNED, "cpu_protocol", "cpu_protocol_one_setting", "first_filters_committee_cifar100", "first_filters_dtg-ff", "free_segments",
        "borrowed_panel", "borrowed_panel_cifar100",
    ),
    "Ten minutes each": ("equal_time",),
    "`class-goodness` taken apart": ("study-ablation-quick",),
    "Hybrids": ("study-hybrid-quick",),
    "Composition": ("study-composition-quick",),
    "Resolution": ("study-resolution-quick",),
    "Calibration": ("study-calibration-quick",),
    "Cost": ("cost-quick",),
    "The audit, its readout and other processors": ("audit-quick", "readout_grid"),
    "What this supports": (),
}  # fmt: skip
"""How a section begins → the files that its numbers are of."""
GONE = {"+1.3 [−0.6, +3.2]", "−5.2 [−10.3, −0.2]", "−5.4 [−10.9, +0.2]"}
"""Of audits on another processor, which the page tells of and which are in no file."""


@cache
def results(name):
    return json.loads((ROOT / f"results/{name}.json").read_text())


def sections():
    """How a section begins, as in `RESTS_ON` → its text."""
    parts = re.split(r"^## ", FENCED.sub("", APPENDIX.read_text()), flags=re.MULTILINE)[1:]
    found = {}
    for part in parts:
        [name] = [name for name in RESTS_ON if part.startswith(name)]
        found[name] = part
    return found


def test_every_section_says_what_it_rests_on():
    assert list(sections()) == list(RESTS_ON)


# --- intervals ---------------------------------------------------------------------------------------------------------------


def times(value):
    """A ratio: median or mean, and its interval."""
    return "{:.2f}× [{:.2f}, {:.2f}]".format(value.get("median", value.get("mean")), value["low"], value["high"])


def estimates(content):
    """Every estimate of a results file: differences and accuracies in points, ratios; of a quantity over its seeds, too."""
    if isinstance(content, list):
        for value in content:
            yield from estimates(value)
    elif isinstance(content, dict):
        if content.get("low") is not None and ("mean" in content or "median" in content):
            yield content
        elif isinstance(values := content.get("values"), dict) and len(values) > 1:
            yield estimate(list(values.values()))
        for value in content.values():
            yield from estimates(value)


def between(one, other):
    """The difference of two lists of accuracies, paired by seed."""
    return estimate(list(np.subtract(one, other)))


def protocol(method, task="cifar10", rule="committee"):
    [row] = [row for row in results("cpu_protocol")["rows"] if (row["task"], row["rule"]) == (task, rule)]
    return row[method]["values"]


def tuned(name, method="committee", chosen="tuned"):
    [row] = [row for row in results(f"tuned{name}")["rows"] if row["chosen"] == chosen]
    return row["accuracies"][method]["values"]


def deepest(method, *, block=None):
    """At depth 16 of `study-depth-medium`, by seed: fused, or of a block."""
    rows = [row for row in results("study-depth-medium")["rows"] if row["depth"] == 16]
    return [row["blocks"][method][block] if block else row[method] for row in rows]


def hybrid(method):
    return [row[method] for row in results("study-hybrid-quick")["rows"]]


TWIN = "bp-deepsup of committee"
DERIVED = {
    "Hybrids": lambda: [between(hybrid("bp"), hybrid("local"))],
    "Depth and modules": lambda: [between(deepest("local"), deepest("local", block="block1"))],
    "The CPU protocol": lambda: [
        between(protocol("local", "fashion_mnist"), tuned(f"_fashion_mnist_{WIDE}_borrowed_long", "bp of committee")),
        between(protocol("local", "caltech101_64", "class-goodness"), protocol("local", "caltech101_64")),
        between(protocol("bp-deepsup", "caltech101_64", "class-goodness"), protocol("local", "caltech101_64", "class-goodness")),
    ],
    "Each at its best": lambda: [
        between(tuned(""), tuned("", chosen="untuned")),
        between(tuned("", TWIN), tuned("", TWIN, "untuned")),
        between(results("tuned")["rows"][0]["price_of_locality"]["values"], results("tuned")["rows"][1]["price_of_locality"]["values"]),
        between(tuned(""), tuned("", TWIN, "untuned")),
        between(tuned("_cifar100_long"), tuned("_cifar100_long", chosen="untuned")),
        between(tuned("_cifar100_long", TWIN), tuned("_cifar100_long", TWIN, "untuned")),
        between(
            np.subtract(tuned("_cifar100_long"), tuned("_cifar100_long", TWIN)),
            np.subtract(tuned("_cifar100_long", chosen="untuned"), tuned("_cifar100_long", TWIN, "untuned")),
        ),
        between(tuned("_cosine_long"), tuned("_long")),
        between(tuned("_cosine_long", TWIN), tuned("_long", TWIN)),
        between(tuned("_cosine_long"), tuned("_long", TWIN)),
    ],
}  # fmt: skip
"""What a section says of the difference of two numbers of its files."""
BRACKET = r"\[[+−]?[\d.]+, [+−]?[\d.]+\]"
INTERVAL = re.compile(r"([+−]?\d[\d.]*×?)(?: pp)?(?: more than `committee`)? (" + BRACKET + ")")


def allowed(name):
    """Every interval that a section may have, as its files have it; without the sign of its mean too: "falls by 2.4 pp [−4.4, −0.3]"."""
    values = [value for file in RESTS_ON[name] for value in estimates(results(file))]
    values += DERIVED.get(name, list)()
    found = {difference(value, bare=True) for value in values} | {times(value) for value in values}
    found |= {re.sub(r"^[+−]", "", one) for one in found}
    return found | {one.replace("+", "") for one in found if "−" not in one}


@pytest.mark.parametrize("name", RESTS_ON)
def test_every_interval_of_a_section_is_one_of_its_files(name):
    there, known = {" ".join(found) for found in INTERVAL.findall(sections()[name])}, allowed(name) | GONE
    assert sorted(there - known) == []
    assert {*re.findall(BRACKET, sections()[name])} <= {one.split(" ", 1)[1] for one in known}


ELSEWHERE = {
    "Accuracy": ("reports a price of −2.40 pp on CIFAR-10 and −5.93",),
    "Depth and modules": ("slopes were given as −7.6 and −8.6, at `quick` −4.3",),
    "The CPU protocol": ("≥ −1.0 pp on CIFAR-10 and ≥ −2.0 on CIFAR-100", "seen on validation data (+0.4 pp, n = 2)"),
    "Each at its best": ("(−2.0 to −1.0, `results/search-log.md`)", "The −2.4 that the paper has",
        "a price of −2.1 pp, against 74.0, 76.1 and −2.0"),
}  # fmt: skip
"""Differences that are not of our results on test images: of a paper, of validation data, an aim, or since corrected."""


@pytest.mark.parametrize("name", RESTS_ON)
def test_every_signed_difference_of_a_section_is_one_of_its_files(name):
    text = re.sub(BRACKET, "", " ".join(sections()[name].split()))
    for said in ELSEWHERE.get(name, ()):
        assert said in text
        text = text.replace(said, "")
    values = [value["mean"] for file in RESTS_ON[name] for value in estimates(results(file)) if "mean" in value]
    values += [value["mean"] for value in DERIVED.get(name, list)()]
    for file in RESTS_ON[name]:
        rows = results(file)["rows"] if file.startswith("study-") else ()
        values += [mean for _, means, _ in mean_rows(rows) for mean in means.values()]
    said = re.findall(r"[+−]\d+\.\d+", text)
    assert [one for one in said if not rounds_to(one.replace("−", "-"), values)] == []


# --- accuracies, and those of every block ------------------------------------------------------------------------------------

NOT_KEPT = {
    "The same at one setting for all": (
        "61, 71, 72, 74, 74, 74", "61, 72, 74, 76, 77, 77", "28, 37, 38, 42, 41, 39", "28, 39, 40, 44, 44, 42",
    ),
    "Each at its best": ("65.6, 73.0, 74.0, 76.0, 76.0, 75.6", "65.6, 73.5, 75.0, 77.2, 77.8, 77.6"),
    "Ten minutes each": ("73.0",),
    "The audit, its readout and other processors": ("42.2", "23.4, 33.7, 37.3, 40.8, 42.0", "41.4"),
}  # fmt: skip
"""What was read off runs whose store is gone; the page says so."""


def by_block(blocks):
    """The accuracies of a network's blocks, from the first on: `block10` is behind `block9`."""
    return [blocks[name] for name in sorted(blocks, key=lambda name: int(name.removeprefix("block")))]


def mean_rows(rows):
    """The rows of a study, averaged over seeds: a dict of accuracies by method, and of those of every block."""
    groups = {}
    for row in rows:
        same = {key: value for key, value in row.items() if isinstance(value, str | int) and key != "seed"}
        groups.setdefault(json.dumps(same), []).append(row)
    for same, group in groups.items():
        found = {
            key: np.mean([row[key] for row in group]) for key, value in group[0].items() if isinstance(value, float)
        }
        methods = {
            method: np.mean([by_block(row["blocks"][method]) for row in group], axis=0)
            for method in group[0].get("blocks", ())
        }
        yield json.loads(same), found, methods


def accuracies(content):
    """Every number of a results file, and the mean of every list of them."""
    if isinstance(content, float):
        yield content
    elif isinstance(content, dict):
        for key, value in content.items():
            yield from () if key in ("specs", "plan") else accuracies(value)
    elif isinstance(content, list):
        if content and all(isinstance(value, float) for value in content):
            yield float(np.mean(content))
        for value in content:
            yield from accuracies(value)


def profiles(content):
    """The accuracies of all blocks of every network of a results file, and their means over seeds."""
    if isinstance(content, dict):
        if "block1" in content and isinstance(content["block1"], float):
            yield by_block(content)
        elif content and all(
            key.isdigit() and isinstance(value, dict) and "block1" in value for key, value in content.items()
        ):
            yield list(np.mean([by_block(value) for value in content.values()], axis=0))
        for value in content.values():
            yield from profiles(value)
    elif isinstance(content, list):
        for value in content:
            yield from profiles(value)


def kept(name):
    """(numbers, lists by block) of the files of a section."""
    numbers, lists = [], []
    for file in RESTS_ON[name]:
        content = results(file)
        numbers += accuracies(content)
        lists += profiles(content)
        for _, means, blocks in mean_rows(content["rows"]) if file.startswith("study-") else ():
            numbers += means.values()
            lists += blocks.values()
    return np.array([*numbers, *(value for one in lists for value in one)]), [list(one) for one in lists]


def rounds_to(text, values):
    """Whether this is what a number rounds to, either way at a tie."""
    digits = len(text.partition(".")[2])
    return bool(np.any(np.abs(100 * np.asarray(values) - float(text)) <= 0.5 * 10**-digits + 1e-6))


@pytest.mark.parametrize("name", RESTS_ON)
def test_every_accuracy_and_every_list_by_block_of_a_section_is_one_of_its_files(name):
    text = " ".join(sections()[name].split())
    for said in NOT_KEPT.get(name, ()):
        assert said in text
        text = text.replace(said, "")
    numbers, lists = kept(name)
    said = re.findall(r"((?:\d+\.\d(?: %)?(?:, | and | or ))*\d+\.\d) %", text)
    assert [one for many in said for one in re.findall(r"\d+\.\d", many) if not rounds_to(one, numbers)] == []
    for found in re.findall(r"(?<![\d.,])\d\d(?:\.\d)?(?:, \d\d(?:\.\d)?){5,}(?![\d.]*\d)", text):
        parts = found.split(", ")
        assert any(
            len(one) == len(parts) and all(rounds_to(part, [value]) for part, value in zip(parts, one, strict=True))
            for one in lists
        ), found


def settings(content):
    """(learning rate, label smoothing) of every trial and every run of a results file."""
    if isinstance(content, dict):
        found = {key.rpartition(".")[2]: value for key, value in content.items()}
        if {"learning_rate", "label_smoothing"} <= found.keys():
            yield found["learning_rate"], found["label_smoothing"]
        for value in content.values():
            yield from settings(value)
    elif isinstance(content, list):
        for value in content:
            yield from settings(value)


def test_the_settings_that_the_appendix_names_were_searched():
    text = " ".join(sections()["Each at its best"].split())
    named = {(float(rate), float(smoothing)) for rate, smoothing in re.findall(r"\((0\.\d+), (0\.\d+)\)", text)}
    searched = {pair for name in RESTS_ON["Each at its best"] for pair in settings(results(name))}
    assert len(named) > 10 and named <= searched


# --- tables ------------------------------------------------------------------------------------------------------------------


def percent(value):
    return f"{100 * (value['mean'] if isinstance(value, dict) else value):.1f} %"


def compared(row, *keys):
    """Accuracies of a row of a results table, then differences."""
    cells = [percent(row[key]) for key in ("local", "bp", "bp-deepsup")]
    return " | ".join([*cells, *(difference(row[key], bare=True) for key in keys)])


def table(name, number=0):
    return results(name)["tables"][number]["rows"]


def accuracy_rows():
    rows = table("study-accuracy-quick")
    for row in rows:
        if row["rule"] == "class-goodness":
            yield f"| `{row['data']}` | {compared(row, 'gap', 'price_of_locality')} |"
    found = {rule: {row["data"]: row for row in rows if row["rule"] == rule} for rule in {row["rule"] for row in rows}}
    for rule, of in sorted(found.items(), key=lambda pair: -pair[1]["cifar10"]["local"]["mean"]):
        cells = [
            f"{percent(of[data]['local'])} ({difference(of[data]['price_of_locality'], bare=True)})"
            if data in of
            else "needs 6 × the width"
            for data in ("fashion_mnist_subset", "cifar10", "cifar100")
        ]
        yield f"| `{rule}` | {' | '.join(cells)} |"


def class_rows():
    for begin, shown, counts in (
        ("Teacher-student, total", "teacher-student", (2, 10, 100)),
        ("Real subsets, total", "CIFAR-100 classes", (5, 20, 100)),
    ):
        for row in table("study-classes-medium"):
            if row["arm"].startswith(begin) and row["classes"] in counts:
                what = f"{shown}, total fixed" if row["classes"] == counts[0] else "same"
                yield f"| {row['classes']} | {what} | {compared(row, 'gap', 'price_of_locality')} |"


def depth_rows():
    for size in ("quick", "medium"):
        for row in table(f"study-depth-{size}", 1):
            yield f"| {row['depth']} | {compared(row, 'gap', 'price_of_locality')} |"


def of_study(name, quantity):
    return difference(
        estimate(list(results(name)["quantities"]["class-goodness"][quantity]["values"].values())), bare=True
    )


PARTS = {
    "dynamic temperature": "effect/temperature",
    "decoupled normalization": "effect/normalization",
    "multi-layer fusion": "effect/fusion",
    "fusion − the one block that is best on validation data": "fusion_against_best_block",
    "dynamic temperature − the fixed one that is best on validation data (1 and 2)": "dynamic_against_fixed",
    "the same fusion of BP-DeepSup − its last block": "fusion_of_deepsup",
}


def ablation_rows():
    for part, quantity in PARTS.items():
        cells = (of_study("study-ablation-quick", f"{quantity}/{data}") for data in ("cifar10", "cifar100"))
        yield f"| {part} | {' | '.join(cells)} |"


def composition_rows():
    for row in table("study-composition-quick"):
        cells = [
            percent(row["local"]),
            percent(row["bp"]),
            *(difference(row[key], bare=True) for key in ("gap", "price_of_locality")),
        ]
        yield f"| {row['how']}, {row['pairs']} | {' | '.join(cells)} |"


def equal_time_rows():
    for row in results("equal_time")["rows"]:
        last = row["points"][-1]["validation_accuracy"]
        yield f"| `{row['method']}` | {row['steps']:,} | {row['seconds']:.0f} | {percent(last)} |"


COSTS = {
    "`class-goodness`": "class-goodness",
    "`class-goodness`, step per block": "class-goodness step-per-block",
    "BP in 4 micro-batches": "bp micro-4",
    "BP in 8 micro-batches": "bp micro-8",
    "BP with checkpointing": "bp checkpointing",
    "`class-goodness` in 8 micro-batches": "class-goodness micro-8",
    "`ff`": "ff",
}


def cost_rows():
    rows = {row["label"]: row for row in results("cost-quick")["groups"][0]["rows"]}
    for shown, label in COSTS.items():
        cells = [f"{rows[label][key]:.2f}×" for key in ("resident_ratio", "saved_ratio", "flops_ratio")]
        yield f"| {shown} | {times(rows[label]['speed_ratio'])} | {' | '.join(cells)} |"


def readout_rows():
    for row in results("readout_grid")["rows"]:
        yield f"| {row['grid']}×{row['grid']} | {compared(row, 'gap', 'price_of_locality')} |"


def audit_rows():
    from readme_figure import lines

    return [*lines(Summary.model_validate(results("audit-quick"))), *readout_rows()]


def tuned_rows():
    """Settings in brackets where they were searched."""
    for row, shown in zip(results("tuned")["rows"], ("best of 8 trials each", "as in the table above"), strict=True):
        cells = []
        for method, found in row["accuracies"].items():
            rate, smoothing = row["settings"][method].values()
            cells.append(percent(found) + (f" ({rate:g}, {smoothing:g})" if row["chosen"] == "tuned" else ""))
        cells += [difference(row[key], bare=True) for key in ("gap", "price_of_locality")]
        yield f"| {shown} | {' | '.join(cells)} |"


def protocol_rows(name):
    from published_figures import table as of_protocol

    return [line for line in of_protocol(results(name)["rows"]).splitlines() if line.startswith("| ")][1:]


TABLES = {
    "Accuracy": accuracy_rows,
    "Number of classes": class_rows,
    "Depth and modules": depth_rows,
    "The CPU protocol": lambda: protocol_rows("cpu_protocol"),
    "The same at one setting for all": lambda: protocol_rows("cpu_protocol_one_setting"),
    "Each at its best": tuned_rows,
    "Ten minutes each": equal_time_rows,
    "`class-goodness` taken apart": ablation_rows,
    "Composition": composition_rows,
    "Cost": cost_rows,
    "The audit, its readout and other processors": audit_rows,
}


@pytest.mark.parametrize("name", RESTS_ON)
def test_every_row_of_a_table_is_that_of_its_file(name, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    bodies = re.findall(r"^\|[-|: ]+\|\n((?:\|.*\n)+)", f"{sections()[name]}\n", re.MULTILINE)
    assert [line for body in bodies for line in body.splitlines()] == list(TABLES.get(name, list)())


# --- the audit, lengths and verdicts -----------------------------------------------------------------------------------------


def swept(summary, arm, key):
    """Number of classes → a column of the audit's class sweep by seed."""
    rows = [row for row in summary.rows if row["arm"] == arm]
    return {k: [row[key] for row in rows if row["classes"] == k] for k in dict.fromkeys(row["classes"] for row in rows)}


def test_the_audit_of_the_appendix_and_of_the_first_page_is_that_of_the_results(monkeypatch):
    monkeypatch.setattr(sys, "path", [str(ROOT / "scripts"), *sys.path])
    from readme_figure import lines

    summary, page = Summary.model_validate(results("audit-quick")), APPENDIX.read_text()
    environment = summary.environment
    assert f"commit `{environment['commit']}`, {environment['processor']} ({environment['instructions']})" in page
    for kind in ("synthetic", "real"):
        at = (f"{100 * np.mean(gaps):+.1f} at K={k}" for k, gaps in swept(summary, kind, "gap").items())
        assert ", ".join(at) in page
    for row in lines(summary):
        rule, *_, gap, extra, price = (cell.strip() for cell in row.strip("|").split("|"))
        assert rule == "`local-heads`" or f"| {rule} | {gap} | {extra} | {price} |" in START.read_text()


def test_what_the_appendix_says_of_class_sweeps_is_what_their_seeds_carry():
    """Slope of the gap per doubling of K in each seed (NumPy's line) and its Student interval (t = 4.3027 at 2 degrees of freedom)."""
    summary = Summary.model_validate(results("audit-quick"))
    for kind, key in (("synthetic", "gap"), ("synthetic", "extra_supervision"), ("real", "gap")):
        found = swept(summary, kind, key)
        doublings, values = np.log2(list(found)), 100 * np.array(list(found.values()))  # (K,), (K, seeds)
        slopes = np.polyfit(doublings, values, 1)[0]
        half = 4.3027 * slopes.std(ddof=1) / np.sqrt(3)
        ends = [
            f"{value:+.1f}".replace("-", "−") for value in (slopes.mean(), slopes.mean() - half, slopes.mean() + half)
        ]
        assert f"{ends[0]} [{ends[1]}, {ends[2]}] per doubling" in APPENDIX.read_text()


def lengths(size):
    """(study, data) → images and steps of its runs."""
    found = {}
    for path in sorted((ROOT / "results").glob(f"study-*-{size}.json")):
        for spec in results(path.stem)["specs"].values():
            data, recipe = spec["data"], spec["recipe"]
            images = round(data["num_train"] * (1 - data["validation"]))
            steps = recipe["steps"] or recipe["epochs"] * (images // recipe["batch_size"])
            found.setdefault((path.stem.split("-")[1], data["source"]), set()).add((data["num_train"], steps))
    return found


def test_images_and_steps_of_the_two_sizes_are_those_of_their_runs():
    first, quick, medium = sections()["Read this first"], lengths("quick"), lengths("medium")
    assert {key for key, found in quick.items() if max(images for images, _ in found) == 5000} == {
        ("classes", "cifar100"), ("composition", "fashion_mnist_subset"), ("hierarchy", "cifar100"),
    }  # fmt: skip
    said = {"composition": (5000, 420), "resolution": (460, 150)}
    for (study, data), found in quick.items():
        usual = {285} if data == "teacher_student" else {210}
        assert {steps for _, steps in found} == ({said[study][1]} if study in said else usual), study
        assert study not in said or found == {said[study]}
    assert "2,500 images (5,000 in `hierarchy` and `composition`, 460 in `resolution`), 210 steps (285" in first
    assert "420 in `composition`, 150 in `resolution`)" in first
    assert medium["depth", "cifar10"] == {(5000, 840)}
    real = medium["classes", "cifar100"] | medium["hierarchy", "cifar100"]
    assert (min(real), max(real)) == ((500, 840), (10000, 840)) and {steps for _, steps in real} == {840}
    assert {steps for _, steps in medium["classes", "teacher_student"]} == {1150}
    text = " ".join(first.split())
    assert "5,000 images of CIFAR-10, 500 to 10,000 of CIFAR-100, twice the width, 840 steps (1,150 on" in text


def test_the_verdicts_of_the_last_section_are_those_of_the_results():
    claims = [claim for claim in results("claims")["claims"] if "@" not in claim["id"] and claim["id"][0] in "PO"]
    text = " ".join(sections()["What this supports"].split())
    of = {verdict: [claim["id"] for claim in claims if claim["verdict"] == verdict] for verdict in
          ("supported", "contradicted", "inconclusive", "cannot be judged")}  # fmt: skip
    assert len(claims) == 29 and [len(ids) for ids in of.values()] == [6, 4, 17, 2]
    assert "Of 29 claims about `class-goodness` six are supported" in text
    assert "four are contradicted" in text and "two cannot be judged (P10), 17 are inconclusive" in text
    supported, contradicted = re.search(
        r"six are supported \((.+?)\), four are contradicted \((.+?)\), two", text
    ).groups()
    assert set(re.findall(r"[PO]\d+(?:-\w+)?", supported)) == set(of["supported"])
    assert set(re.findall(r"[PO]\d+(?:-\w+)?", contradicted)) == set(of["contradicted"])
    assert all(claim["headroom"] is None for claim in claims) and "No headroom was measured" in text
