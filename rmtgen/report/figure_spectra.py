"""Figure 3: how the eigenvalues of the kernel decay, and how early they capture the targets."""

import numpy as np
from matplotlib.axes import Axes

from rmtgen.report.figure_axes import limits, log_axis
from rmtgen.report.figure_style import Series, Words
from rmtgen.report.wording import listed, percentage
from rmtgen.theory.alignment import cumulative_power

EIGENVALUE_FLOOR = 1e-10  # below this share of the largest there is only rounding
CURVE_POINTS = 300


def draw_spectra(series: list[Series], decay: Axes, power: Axes) -> Words:
    """Draw each run's eigenvalues and the cumulative target power of its modes, and say what is seen."""
    shares = [item.result.eigenvalues / item.result.eigenvalues.sum() for item in series]
    powers = [cumulative_power(item.result.target_power, item.result.null_energy) for item in series]
    for place, (item, share, captured) in enumerate(zip(series, shares, powers, strict=True)):
        modes = np.unique(np.rint(np.geomspace(1, len(share), CURVE_POINTS)).astype(int))
        look = {"color": item.color, "marker": item.marker, "markersize": 5, "markevery": (0.05 * (place % 3), 0.15)}
        decay.plot(modes, np.where(share > 0, share, np.nan)[modes - 1], **look)
        power.plot(modes, captured[modes - 1], **look)
    longest = max(len(share) for share in shares)
    view = limits(*shares)
    low = max(view[0], view[1] * EIGENVALUE_FLOOR)
    for axes, title, name in (
        (decay, "Eigenvalues", "share of tr K/n"),
        (power, "Target power C(m)", "share of target power in modes 1 to m"),
    ):
        axes.set(title=title, xlabel="mode m", ylabel=name)
        log_axis(axes, "x", limits([1, longest]))
    log_axis(decay, "y", (low, view[1]))
    power.set_ylim(0, 1.03)
    return _spectra_words(series, powers, below=sum(int((share < low).sum()) for share in shares))


def _spectra_words(series: list[Series], powers: list[np.ndarray], *, below: int) -> Words:
    sizes = ", ".join(f"{n:,}" for n in sorted({item.result.spectrum_n for item in series}))
    hidden = f" {below:,} eigenvalues lie below the view." if below else ""
    caption = (
        f"Spectra at n = {sizes}. Eigenvalues of K/n stand in descending order, as shares of their sum, the unit in which "
        "ridges are given: modes far below the ridge have no part in the fit. C(m) is the share of the targets' power in the "
        f"leading m eigenvectors; the earlier it rises, the better the targets align with the kernel.{hidden}"
    )
    told = []
    for item, captured in zip(series, powers, strict=True):
        first = item.result.eigenvalues[0] / item.result.eigenvalues.sum()
        half = int(np.searchsorted(captured, 0.5)) + 1
        reach = (
            f"{half:,} modes hold half of the target power"
            if half <= len(captured)
            else f"all modes hold {percentage(captured[-1])} % of the target power"
        )
        told.append(f"{item.label}: the first mode holds {percentage(first)} % of the trace, {reach}")
    return Words(caption, listed("Eigenvalues of K/n and cumulative target power", told))
