"""Figure 1: the risk that GCV predicts against the risk measured, fit by fit and size by size."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from rmtgen.report.figure_axes import drawable, limits, log_axis, size_axis, view_limits
from rmtgen.report.figure_style import GREY, PALE, Series, Words, key, mark
from rmtgen.report.fits import agreement, gaps
from rmtgen.report.wording import count_fits, counted, listed, percentage, scientific

MANY_POINTS = 6000  # past this, points become an image inside the SVG so that pages of 50 runs stay small


def draw_prediction(series: list[Series], fits: Axes, by_size: Axes) -> Words:
    """Draw GCV against test risk for every fit, and the gap between them against n, and say what is seen."""
    table = pd.concat([item.result.risk for item in series])
    shown = drawable(table)
    view = view_limits(shown["test_risk"], shown["gcv"])
    # one decade shows the training risk fall away; an axis down to its 1e-16 would show nothing else
    low = min(view[0], max(view[0] / 10, limits(shown["train_risk"])[0]))
    fits.plot(view, view, color=GREY, linewidth=1, linestyle="--", zorder=1.5)
    for item in series:
        _draw_fits(fits, item, edge=view[1], rasterized=len(shown) > MANY_POINTS)
    fits.set(title="Every fit", xlabel="measured test risk", ylabel="risk from training images alone")
    log_axis(fits, "x", view)
    log_axis(fits, "y", (low, view[1]))
    marks = {
        "GCV": mark(GREY, "o", "none"),
        "training risk": mark(PALE, "o", "none"),
        "exact": mark(GREY, line="--"),
    }
    key(fits, "upper left", marks)
    _draw_gaps(series, by_size)
    return _prediction_words(series, shown, skipped=len(table) - len(shown), low=low, edge=view[1])


def _draw_fits(axes: Axes, item: Series, *, edge: float, rasterized: bool) -> None:
    risk = drawable(item.result.risk)
    inside = (risk[["test_risk", "gcv"]] <= edge).all(axis=1)
    strong, beyond = risk[inside], risk.loc[~inside, ["test_risk", "gcv"]].clip(upper=edge)
    look = {"linestyle": "none", "marker": item.marker, "rasterized": rasterized}
    pale = [0.25 * channel + 0.75 for channel in to_rgb(item.color)]
    axes.plot(strong["test_risk"], strong["train_risk"], color=pale, markersize=3, mew=0, zorder=1, **look)
    axes.plot(strong["test_risk"], strong["gcv"], color=item.color, markersize=4, mew=0, alpha=0.6, zorder=2, **look)
    look |= {"color": item.color, "markersize": 5, "mfc": "none", "clip_on": False, "in_layout": False}
    axes.plot(beyond["test_risk"], beyond["gcv"], zorder=3, **look)


def _draw_gaps(series: list[Series], axes: Axes) -> None:
    spreads = [gaps(item.result.risk).mul(100).groupby(item.result.risk["n"]).agg(["median", "max"]) for item in series]
    for item, spread in zip(series, spreads, strict=True):
        axes.plot(spread["median"], color=item.color, marker=item.marker, markersize=5)
        axes.plot(spread["max"], color=item.color, marker=item.marker, markersize=3, linestyle=":", linewidth=1.2)
    axes.set(title="Gap at each sample size", ylabel="|GCV / test risk − 1|  (%)")
    size_axis(axes, series)
    log_axis(axes, "y", limits(*(spread[name] for spread in spreads for name in spread)))
    key(axes, "best", {"median fit": mark(GREY), "worst fit": mark(GREY, line=":")})


def _prediction_words(series: list[Series], shown: pd.DataFrame, *, skipped: int, low: float, edge: float) -> Words:
    below = int((shown["train_risk"] < low).sum())
    hidden = f" ({below:,} of them lie below the view)" if below else ""
    top = shown[["test_risk", "gcv"]].max(axis=1)
    beyond = int((top > edge).sum())
    capped = (
        f" Open points on the edge stand for {count_fits(beyond)} off the scale, up to {scientific(top.max())}."
        if beyond
        else ""
    )
    caption = (
        "Every fit: each strong point is one fit: one run, sample size, ridge and random subset. Its height is the risk GCV predicts "
        "from the training images alone, its place across the risk measured on held-out images; on the dashed line the prediction is "
        f"exact.{capped} The pale points behind are the training risk of the same fits: it falls towards zero as a fit begins to "
        f"interpolate, and says little about new images{hidden}. Gap at each sample size: how far GCV is off, in the median and at worst "
        "over ridges and subsets."
    )
    told = []
    for item in series:
        gap = agreement(item.result.risk, min_n=0)
        where = f" at n = {gap.worst_n:,}" if gap.count else ""
        told.append(f"{item.label}: median gap {percentage(gap.median)} %, worst {percentage(gap.worst)} %{where}")
    return Words(counted(caption, skipped), listed(f"GCV against measured test risk, {count_fits(len(shown))}", told))
