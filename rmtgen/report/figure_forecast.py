"""Figure 5: what one pool foretells: the risk at every sample size, beyond the pool too, and how the targets lie in the spectrum."""

import pandas as pd
from matplotlib.axes import Axes

from rmtgen.report.figure_axes import limits, log_axis
from rmtgen.report.figure_style import GREY, Series, Words, key, mark
from rmtgen.report.fits import best_curve
from rmtgen.report.wording import listed, number


def draw_forecast(series: list[Series], by_size: Axes, by_freedom: Axes) -> Words:
    """Draw the forecast at the best ridge with its interval beside the measured best risk, and B + noise against df1."""
    told, risks, sizes, floors, freedoms = [], [], [], [], []
    for item in series:
        theory = item.result.theory or {}
        if "forecast" in theory:
            table = theory["forecast"]
            look = {"color": item.color}
            by_size.plot(table["n"], table["predicted_risk"], linewidth=1.4, **look)
            by_size.fill_between(table["n"], table["low"], table["high"], alpha=0.18, linewidth=0, **look)
            beyond = table[table["extrapolated"]]
            by_size.plot(beyond["n"], beyond["predicted_risk"], linestyle="none", marker="x", markersize=5, **look)
            measured = best_curve(item.result.risk)
            by_size.plot(
                measured["n"], measured["test_risk"], linestyle="none", marker=item.marker, markersize=4.5, **look
            )
            if "hindcast" in theory:
                hidden = theory["hindcast"]
                by_size.plot(hidden["n"], hidden["predicted_risk"], linestyle="--", linewidth=1.2, **look)
                risks.append(hidden["predicted_risk"])
            risks += [table["low"], table["high"], measured["test_risk"]]
            sizes += [table["n"], measured["n"]]
            told.append(_told(item, table))
        curves = theory["curves"].query("df1 > 0.5")
        by_freedom.plot(
            curves["df1"], curves["floor"], color=item.color, marker=item.marker, markersize=4, markevery=0.12
        )
        floors.append(curves["floor"])
        freedoms.append(curves["df1"])
    by_size.set(title="Forecast from one pool", xlabel="training images n", ylabel="risk at the best ridge")
    log_axis(by_size, "x", limits(*sizes) if sizes else (1, 10))
    log_axis(by_size, "y", limits(*risks) if risks else (0.1, 1))
    marks = {
        "foretold, 95 %": mark(GREY),
        "from a tenth of it": mark(GREY, line="--"),
        "measured": mark(GREY, "o", "none"),
        "from the fitted tail": mark(GREY, "x", "none"),
    }
    key(by_size, "best", marks)
    by_freedom.set(title="Alignment: what is left to learn", xlabel="degrees of freedom df1(κ)", ylabel="B(κ) + noise")
    log_axis(by_freedom, "x", limits(*freedoms))
    log_axis(by_freedom, "y", limits(*floors))
    caption = (
        "Left: the test risk at the best ridge of each size, foretold from one eigendecomposition of the pool, with its 95 % interval "
        "over pools; measured values are at the sizes of the run. Where the pool does not resolve the kernel's tail, crosses mark what"
        " rests on fitted power laws. Right: the targets' power that is not learnt when df1 degrees of freedom are spent. The lower "
        "the curve, the better the targets align with the leading modes, whatever their eigenvalues."
    )
    return Words(caption, listed("Forecasts", told))


def _told(item: Series, table: pd.DataFrame) -> str:
    last = table.iloc[-1]
    ends = f"{number(last['low'], '.3g')} to {number(last['high'], '.3g')}"
    return f"{item.label}: risk {number(last['predicted_risk'], '.3g')} ({ends}) at n = {last['n']:,.0f}"
