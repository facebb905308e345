"""The look that figure files and page share: every colour, marker, width and text size, once.

`style.json` holds the values. Matplotlib reads them from this module, the style sheet as custom
properties (`css_properties`), and the page's script as data (`page_style`). Its parts:

- `light`, `dark`: colours of the two themes, `series` being those of the groups in their order
  (after Okabe & Ito 2008, darkened for contrast 3:1 with the ground). Files are drawn in `light`.
- `markers`: of the groups in their order, for matplotlib by their codes, for the page by their
  outlines in units of `marker_scale` times the size; a circle has no outline. Eight markers against
  seven colours: 56 groups before a pair repeats.
- `dashes`, `stroke` (widths) and `chart_text`: points in the files, pixels of the same number on
  the page, but text is in points on both.
- `opacity`: of bands, pale lines and clouds. Points without a line are a cloud beyond
  `cloud_points`, and a line beyond `dense_points` has markers at even distances only.
- `page_text`: text sizes of the page, in multiples of the body text.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

STYLE = json.loads(Path(__file__).with_name("style.json").read_text("utf-8"))
LIGHT = STYLE["light"]
SERIES = tuple(LIGHT["series"])
MARKERS = tuple(marker["matplotlib"] for marker in STYLE["markers"])
MATPLOTLIB = {
    "font.family": "DejaVu Sans",  # ships with matplotlib: the same picture on every machine
    "font.size": STYLE["chart_text"]["label"],
    "text.color": LIGHT["ink"],
    "axes.titlesize": STYLE["chart_text"]["title"],
    "axes.titlelocation": "left",
    "axes.titleweight": "bold",
    "axes.labelsize": STYLE["chart_text"]["label"],
    "axes.labelcolor": LIGHT["ink"],
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": LIGHT["quiet"],
    "axes.grid": True,
    "axes.axisbelow": True,
    "figure.facecolor": LIGHT["ground"],
    "grid.color": LIGHT["grid"],
    "grid.linewidth": STYLE["stroke"]["grid"],
    "xtick.color": LIGHT["quiet"],
    "ytick.color": LIGHT["quiet"],
    "xtick.labelsize": STYLE["chart_text"]["tick"],
    "ytick.labelsize": STYLE["chart_text"]["tick"],
    "legend.fontsize": STYLE["chart_text"]["legend"],
    "legend.frameon": False,
    "lines.linewidth": STYLE["stroke"]["line"],
    "lines.scale_dashes": False,
    "lines.dashed_pattern": STYLE["dashes"]["--"],
    "lines.dotted_pattern": STYLE["dashes"][":"],
    "lines.dashdot_pattern": STYLE["dashes"]["-."],
    "svg.hashsalt": "rmtgen",  # without it every drawing has other ids
    "svg.fonttype": "path",
    "pdf.fonttype": 42,  # TrueType; publishers refuse the default, Type 3
}
"""Parameters of matplotlib."""


def css_properties() -> str:
    """Return the style as custom properties of CSS, for both themes and for print."""
    sizes = {
        **{f"stroke-{name}": width for name, width in STYLE["stroke"].items()},
        **{f"opacity-{name}": opacity for name, opacity in STYLE["opacity"].items()},
        **{f"chart-{name}": f"{size}pt" for name, size in STYLE["chart_text"].items()},
        **{f"text-{name}": f"{size}rem" for name, size in STYLE["page_text"].items()},
    }
    light = {"color-scheme": "light"} | _colours(LIGHT)
    dark = {"color-scheme": "dark"} | _colours(STYLE["dark"])
    by_system, chosen = ':root:not([data-theme="light"])', ':root[data-theme="dark"]'
    return "\n".join(
        (
            _rule(":root", light | _custom(sizes)),
            f"@media (prefers-color-scheme: dark) {{ {_rule(by_system, dark)} }}",
            _rule(chosen, dark),
            f"@media print {{ {_rule(f':root, {by_system}, {chosen}', light)} }}",
        )
    )


def page_style() -> dict[str, object]:
    """Return what the page's script needs of the style."""
    shared = ("dashes", "marker_scale", "cloud_points", "dense_points", "chart_text")
    return {
        "colours": len(SERIES),
        "markers": [marker["outline"] for marker in STYLE["markers"]],
        **{name: STYLE[name] for name in shared},
    }


def _colours(theme: Mapping[str, Any]) -> dict[str, object]:
    named = {name: colour for name, colour in theme.items() if name != "series"}
    series = {f"series-{place}": colour for place, colour in enumerate(theme["series"])}
    return _custom(named | series)


def _custom(values: Mapping[str, object]) -> dict[str, object]:
    return {f"--{name}": value for name, value in values.items()}


def _rule(selector: str, properties: Mapping[str, object]) -> str:
    body = " ".join(f"{name}: {value};" for name, value in properties.items())
    return f"{selector} {{ {body} }}"
