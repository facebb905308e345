"""The looks that the files and the page share: a group keeps its colour and marker through all
charts.
"""

COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Okabe & Ito 2008, without yellow, which white ground swallows."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
"""8 against 7 colours: 56 groups before a pair repeats."""
GREY = "#555555"
"""Of what belongs to no group."""
PALE = "#b5b5b5"
"""The same behind other things."""
STYLE = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": 10,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.6,
    "svg.hashsalt": "rmtgen",  # else every drawing has other ids
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType, which publishers ask for; the default, Type 3, they refuse
}
"""Of matplotlib."""
