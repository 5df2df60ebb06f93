"""PLANTED TEST FIXTURE: one figure of every kind, with made-up numbers."""

from __future__ import annotations

from typing import Any

from layerlocal.summary import Axis, Figure, Guide, Point, Series

GAP = Axis(label="difference to BP", unit="pp")


def estimate(mean: float, half: float | None = 0.01, n: int = 3) -> dict[str, Any]:
    """A planted interval: mean ± half, with n values spread evenly about the mean."""
    if half is None or n < 2:
        return {"mean": mean, "low": None, "high": None, "n": n, "values": [mean] * n}
    values = [mean + half * (2 * i / (n - 1) - 1) / 3 for i in range(n)]
    return {"mean": mean, "low": mean - half, "high": mean + half, "n": n, "values": values}


def line_figure() -> Figure:
    """Two panels over the number of classes; the gap falls by 2 pp a doubling on real data and rises by 1 pp on synthetic."""

    def series(panel: str, slope: float) -> list[Series]:
        return [
            Series(name=name, panel=panel, points=tuple(Point(x=2**i, y=estimate(share * slope * i, 0.004)) for i in range(1, 5)))
            for name, share in (("gap", 1.0), ("extra supervision", 0.5))
        ]  # fmt: skip

    return Figure(
        name="gap", caption="Planted gap against the number of classes.", x=Axis(label="classes", scale="log2"), y=GAP,
        series=(*series("real classes", -0.02), *series("synthetic classes", 0.01)),
    )  # fmt: skip


def category_figure(kind: Any = "lines") -> Figure:
    points = [("coarse labels", 0.61), ("fine labels", 0.37), ("random groups of classes", 0.225)]
    series = [
        Series(name=name, points=tuple(Point(x=x, y=estimate(y + shift, 0.02)) for x, y in points))
        for name, shift in (("local", -0.03), ("bp", 0.0), ("bp-deepsup", 0.015))
    ]
    return Figure(
        name="arms", kind=kind, caption="Planted accuracy by arm.", x=Axis(label="arm", scale="category"),
        y=Axis(label="test accuracy", unit="%"), series=tuple(series),
    )  # fmt: skip


def heat_figure(columns: int = 4) -> Figure:
    """A cell is column − row in pp, with 0.3 pp of interval on both sides."""
    cells = [
        Point(x=2 * (i + 1), y=f"{2**j} channels", z=estimate((i - j) / 100, 0.003))
        for i in range(columns)
        for j in range(3)
    ]
    return Figure(
        name="grid", kind="heat", caption="Planted gap by depth and width.", x=Axis(label="blocks"), y=Axis(label="width"),
        z=Axis(label="gap", unit="pp"), series=(Series(name="class-goodness", points=tuple(cells)),),
    )  # fmt: skip


def scatter_figure(unit: str = "%") -> Figure:
    return Figure(
        name="scatter", kind="points", caption="Planted reported against measured.",
        x=Axis(label="reported accuracy", unit=unit), y=Axis(label="measured accuracy", unit="%"),
        series=(
            Series(name="mlp", points=(Point(x=0.981, y=estimate(0.9725), label="method A"),)),
            Series(name="conv", points=(Point(x=0.92, y=estimate(0.9, None, 1), label="method B"),)),
        ),
    )  # fmt: skip


def forest_figure() -> Figure:
    """Rules beside words, each difference with its interval."""
    rows = (("gap", -0.02), ("extra supervision", 0.01), ("price of locality", -0.03))
    series = [
        Series(name=name, points=tuple(Point(x=estimate(mean - 0.01 * i, 0.005), y=rule) for i, rule in enumerate(("class-goodness", "ff"))))
        for name, mean in rows
    ]  # fmt: skip
    return Figure(
        name="forest", kind="points", title="Planted differences", x=GAP, y=Axis(scale="category"), series=tuple(series)
    )


def bar_figure(**changes: Any) -> Figure:
    """Ratios to BP, medians with quartiles; `ff` was not measured."""
    speed = {"median": 1.5, "low": 1.25, "high": 1.75, "n": 5}
    points = (Point(x=1.0, y="bp"), Point(x=speed, y="class-goodness"), Point(x=None, y="ff"))
    given = {
        "name": "speed", "kind": "bars", "title": "Planted speed", "x": Axis(label="samples/s ÷ BP's", unit="×"), "y": Axis(scale="category"),
        "guides": (Guide(axis="x", at=1, label="plain BP"),), "series": (Series(points=points),),
    }  # fmt: skip
    return Figure(**(given | changes))


def stacked_figure() -> Figure:
    """2 pp of extra supervision, then −3 pp of locality: −1 pp together."""
    steps = (("extra supervision", 0.02), ("price of locality", -0.03))
    series = tuple(Series(name=name, points=(Point(x=estimate(mean), y="class-goodness"),)) for name, mean in steps)
    return Figure(
        name="steps", kind="bars", stacked=True, title="Planted steps", x=GAP, y=Axis(scale="category"), series=series
    )


def block_figure() -> Figure:
    """Accuracy of every block and of their fusion, which stands apart; BP has the last block alone."""
    local = [*(Point(x=f"block{i}", y=0.5 + 0.1 * i) for i in range(3)), Point(x="fused", y=0.75)]
    series = (
        Series(name="class-goodness", panel="class-goodness", points=tuple(local)),
        Series(name="BP", panel="class-goodness", points=(Point(x="block2", y=0.8), Point(x="fused", y=0.8))),
    )
    return Figure(
        name="blocks", title="Planted accuracy by block", x=Axis(label="block"), y=Axis(label="test accuracy", unit="%"),
        series=series, guides=(Guide(axis="y", at=0.5, label="chance"),),
    )  # fmt: skip


def matrix_figure() -> Figure:
    """Two matrices of 2 × 2 beside each other with every state."""
    states = ("yes", "no", "wrong", "unknown")
    cells = tuple(Point(x=f"block{i % 2}", y=f"block{i // 2}", z=z, label=f"{z} at {i}") for i, z in enumerate(states))
    series = tuple(Series(name=name, points=cells) for name in ("gradient reaches", "update changed"))
    return Figure(
        name="locality",
        kind="matrix",
        title="Planted locality",
        x=Axis(label="block"),
        y=Axis(label="loss"),
        series=series,
    )


def pareto_figure() -> Figure:
    """Two methods of a rule, the second beaten by the first, and a point that others published."""
    points = (
        Point(x=0.5, y=1.5, label="class-goodness", mark="b"),
        Point(x=2.0, y=0.5, label="class-goodness, plain", mark="c", hollow=True),
    )
    return Figure(
        name="pareto", kind="points", title="Planted front", x=Axis(label="memory ÷ BP's", unit="×"),
        y=Axis(label="samples/s ÷ BP's", unit="×"), reference=Point(x=1, y=1, label="plain BP"),
        series=(Series(name="class-goodness", points=points), Series(name="the paper's", points=(Point(x=0.75, y=0.75, hollow=True),))),
        guides=(Guide(axis="x", at=0.25, label="least memory"),),
    )  # fmt: skip


def every_figure() -> list[Figure]:
    """One of each kind."""
    makers = (line_figure, category_figure, heat_figure, scatter_figure, forest_figure, bar_figure, stacked_figure, block_figure,
              matrix_figure, pareto_figure)  # fmt: skip
    return [make() for make in makers]
