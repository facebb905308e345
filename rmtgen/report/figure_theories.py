"""Figure 4: what predicts the risk and what does not: every theory against the measured risk, and how it ranks and scales."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from rmtgen.report.figure_axes import log_axis, view_limits
from rmtgen.report.figure_style import COLORS, GREY, MARKERS, Series, Words, key, mark
from rmtgen.report.theories import NAMES, theory_scores
from rmtgen.report.wording import listed, number

SHOWN = ("transport", "isotropic", "norm_proxy", "benign", "train_risk")
"""The theories of the scatter: one of each kind."""
MANY_POINTS = 3_000
DECADES = 30.0
"""How far below and above the measured risks the scatter reaches, as a factor: bounds without a constant may be anywhere."""


def draw_theories(series: list[Series], fits: Axes, ranks: Axes) -> Words:
    """Draw predicted against measured risk for one theory of each kind, and Kendall's τ of all with its interval."""
    results = [item.result for item in series]
    scores = theory_scores(results)
    means = _means(results)
    view = view_limits(means["test_risk"])
    tall = view[0] / DECADES, view[1] * DECADES
    fits.plot(view, view, color=GREY, linewidth=1, linestyle="--", zorder=3)
    marks = {}
    for name, color, marker in zip(SHOWN, COLORS, MARKERS, strict=False):
        inside = means[name].between(*tall)
        look = {"color": color, "marker": marker, "linestyle": "none", "rasterized": len(means) > MANY_POINTS}
        fits.plot(means["test_risk"][inside], means[name][inside], markersize=3, mew=0, alpha=0.5, **look)
        marks[NAMES[name]] = mark(color, marker, "none")
    fits.set(title="Every theory, no constant fitted", xlabel="measured test risk", ylabel="predicted risk")
    log_axis(fits, "x", view)
    log_axis(fits, "y", tall)
    key(fits, "upper left", marks)
    _draw_ranks(scores, ranks)
    return _words(scores, outside=int(sum((~means[name].between(*tall)).sum() for name in SHOWN)))


def _means(results: list) -> pd.DataFrame:
    """Means over subsets: one row a run, n and ridge."""
    tables = [result.theory["predictions"].assign(run=result.name) for result in results if result.theory]
    fits = pd.concat(tables).replace([np.inf, -np.inf], np.nan)
    return fits.groupby(["run", "n", "ridge"], as_index=False)[["test_risk", *SHOWN]].mean()


def _draw_ranks(scores: pd.DataFrame, axes: Axes) -> None:
    names = [name for name in NAMES if name in set(scores["theory"])][::-1]
    for place, (dataset, rows) in enumerate(scores.groupby("dataset", sort=False)):
        found = rows.set_index("theory").reindex(names)
        heights = np.arange(len(names)) + 0.18 * (place - (scores["dataset"].nunique() - 1) / 2)
        ends = np.array(
            [interval if isinstance(interval, tuple) else (np.nan, np.nan) for interval in found["kendall_interval"]]
        )
        spread = np.abs(ends - found["kendall"].to_numpy()[:, None]).T
        look = {"color": COLORS[place % len(COLORS)], "marker": MARKERS[place % len(MARKERS)], "markersize": 4}
        axes.errorbar(
            found["kendall"],
            heights,
            xerr=spread,
            linestyle="none",
            capsize=2,
            label=dataset.rpartition("/")[2],
            **look,
        )
    axes.axvline(0, color=GREY, linewidth=1)
    axes.set_yticks(range(len(names)), [NAMES[name] for name in names], fontsize=8.5)
    axes.set(title="Rank correlation with the test risk", xlabel="Kendall τ, 95 % interval", xlim=(-1.05, 1.05))
    axes.legend(loc="lower left", fontsize=8)


def _words(scores: pd.DataFrame, *, outside: int) -> Words:
    hidden = f" {outside:,} points lie outside the view." if outside else ""
    caption = (
        "Left: what one theory of each kind predicts for every run, size and ridge (means over subsets), against the measured test "
        "risk; on the dashed line it is right. Bounds leave a factor free: only their order and slope say something. Right: whether "
        f"each theory puts the fits in the right order, 1 being perfect and 0 no order at all.{hidden}"
    )
    told = [
        f"{NAMES[row.theory]} on {row.dataset.rpartition('/')[2]}: τ {number(row.kendall, '.2f')}, log-error {number(row.log_error, '.2g')}"
        for row in scores.itertuples()
        if row.theory in (*SHOWN, "gcv")
    ]
    return Words(caption, listed("Theories against measured test risk", told))
