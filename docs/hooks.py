"""What the pages take from the code, so that nothing is written twice, and how they show formulas.

`{{ NAME WORDS }}` in a page is replaced by what the function NAME of `PARTS` returns. Pages
under notebooks/ are Jupytext notebooks: they are executed, and shown with their outputs. Formulas
between dollar signs become MathML, which browsers draw without a script.
"""

import base64
import csv
import dataclasses
import html
import importlib
import inspect
import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import jupytext
from latex2mathml.converter import convert
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

import rmtgen
from rmtgen.datasets.vision import VISION_SETS
from rmtgen.ranking.rivals import RIVALS
from rmtgen.runs import columns
from rmtgen.runs.config import FIELDS
from rmtgen.runs.experiment import EXPERIMENTS
from rmtgen.runs.graph import STAGES

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"\{\{ (\w+)((?: \S+)*) \}\}")
AT_ROOT = {"metadata": {"path": str(ROOT)}}
"""Where notebooks are executed."""
ZOO = ROOT / "docs" / "assets" / "entk-zoo.csv"
"""What `make bench BENCH=entk_zoo ALL=1` found."""
NO_WIDGETS = {"PYTHONWARNINGS": "ignore:IProgress not found"}
"""tqdm would rather draw its bars with ipywidgets, and says so."""
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "checkpoints/README.md": "howto/offline.md",
    "data/README.md": "reference/files.md",
}
"""Files of the repository, and the page that shows each."""
UNSHOWN = re.compile(r"\[([^]]+)\]\((?:LICENSE|CITATION\.cff)\)")
"""Links to files of the repository that no page shows."""


def file(path: str) -> str:
    """A Markdown file of the repository; its links lead to pages, or nowhere without one."""
    text = (ROOT / path).read_text(encoding="utf-8").replace("](docs/", "](")
    text = UNSHOWN.sub(r"\1", text)
    for source, page in PAGES.items():
        text = text.replace(f"]({source}", f"]({page}")
    return text


def section(path: str) -> str:
    """A Markdown file of the repository without its title, to stand below a heading of the page."""
    return file(path).partition("\n")[2]


def room(name: str) -> str:
    """The modules of a room, each documented from its docstrings."""
    package = importlib.import_module(f"rmtgen.{name}")
    found = pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    head = f"::: {package.__name__}\n    options: {{show_root_toc_entry: false}}"
    return "\n\n".join([head, *(_documented(module) for module in sorted(m.name for m in found))])


def _documented(module: str) -> str:
    return f"## `{module}`\n\n::: {module}\n    options: {{heading_level: 3}}"


def public() -> str:
    """The names of the package, each with its first sentence, and the room that defines it."""
    rows = ["| name | what it is | room |", "|---|---|---|"]
    for name in rmtgen.__all__:
        item = getattr(rmtgen, name)
        first = inspect.getdoc(item).split("\n\n")[0].replace("\n", " ").replace("|", r"\|")
        link = f"[`{name}`][{item.__module__}.{item.__qualname__}]"
        home = item.__module__.split(".")[1]
        rows.append(f"| {link} | {first} | [{home}](api/{home}.md) |")
    return "\n".join(rows)


def command(*words: str) -> str:
    """What a command prints; `rmtgen` is that of this interpreter."""
    program = [sys.executable, "-m", "rmtgen"] if words[0] == "rmtgen" else [words[0]]
    call = [*program, *words[1:]]
    done = subprocess.run(call, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    return f"```text\n$ {' '.join(words)}\n{done.stdout.strip()}\n```"


def fields() -> str:
    """Every field of the configuration, its default, and the stages whose result it changes."""
    rows = ["| field | default | meaning | changes the result of |", "|---|---|---|---|"]
    for field in FIELDS.values():
        meaning = html.escape(field.metadata["help"])
        stages = ", ".join(field.metadata["stages"]) or "–"
        rows.append(f"| `{field.name}` | {_default(field)} | {meaning} | {stages} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field) -> str:
    value = field.default
    if value == ():
        return "`none`"
    if isinstance(value, tuple):
        value = f"{', '.join(f'{x:.3g}' for x in value[:3])}, …, {value[-1]:.3g}"
    return f"`{value}`"


def experiments() -> str:
    """Every shipped experiment, as its file says it."""
    texts = {path.name: path.read_text(encoding="utf-8") for path in EXPERIMENTS.glob("*.yaml")}
    return "\n\n".join(
        f'### `{name.partition(".")[0]}`\n\n```yaml title="{name}"\n{text.strip()}\n```'
        for name, text in sorted(texts.items())
    )


def stages() -> str:
    """Every stage: its summary and the files it leaves."""
    rows = ["| stage | reads → makes | files |", "|---|---|---|"]
    for name, stage in STAGES.items():
        files = ", ".join(f"`{file}`" for file in stage.files)
        rows.append(f"| `{name}` | {stage.summary.replace('->', '→')} | {files} |")
    return "\n".join(rows)


def torchvision_sets() -> str:
    """The data sets that torchvision reads."""
    return " ".join(f"`{name}`" for name in VISION_SETS)


def csv_columns() -> str:
    """Every column of every CSV."""
    return columns.as_markdown()


def rivals() -> str:
    """Every rival of the ranking, as it is declared."""
    rows = ["| name | what it is | of | formula | cost | source |", "|---|---|---|---|---|---|"]
    for name, rival in RIVALS.items():
        cells = rival.title, rival.needs, rival.formula, rival.cost, rival.reference
        rows.append(f"| `{name}` | {' | '.join(cells)} |")
    return "\n".join(rows)


def architectures() -> str:
    """Every family of timm, with the number of its architectures by verdict and the reasons."""
    families: dict[str, list[dict[str, str]]] = {}
    with ZOO.open(newline="", encoding="utf-8") as lines:
        for row in {row["name"]: row for row in csv.DictReader(lines)}.values():
            families.setdefault(row["family"], []).append(row)
    head = "| family | names | works | falls back | refused | other |\n|---|---|---|---|---|---|"
    table = "\n".join([head, *(_family(name, families[name]) for name in sorted(families))])
    slower = [row for rows in families.values() for row in rows if row["verdict"] == "falls back"]
    reasons = "\n".join(f"- `{row['name']}`: {html.escape(row['reason'])}" for row in slower)
    return f"{table}\n\nThose that fall back:\n\n{reasons}"


def _family(name: str, rows: list[dict[str, str]]) -> str:
    """One row: numbers of names, and each name that is refused or fails with the reason."""
    verdicts = [row["verdict"] for row in rows]
    named = {True: [], False: []}
    for row in rows:
        if row["verdict"] not in ("works", "falls back"):
            reason = html.escape(row["reason"]).replace("|", r"\|")
            named[row["verdict"] == "refused"].append(f"`{row['name']}`: {reason}")
    cells = [f"`{name}`", len(rows), verdicts.count("works"), verdicts.count("falls back")]
    cells += ["; ".join(named[True]), "; ".join(named[False])]
    return f"| {' | '.join(map(str, cells))} |"


PARTS = {
    part.__name__: part
    for part in (file, section, room, public, command, fields, experiments, stages, architectures)
} | {"torchvision_sets": torchvision_sets, "csv_columns": csv_columns, "rivals": rivals}


def notebook(text: str) -> str:
    """A Jupytext notebook, executed: its Markdown, with the outputs below each cell."""
    cells = jupytext.reads(text, fmt="md")
    quiet = ["--log-level=ERROR"]
    client = NotebookClient(cells, timeout=600, resources=AT_ROOT, extra_arguments=quiet)
    client.execute(env=os.environ | NO_WIDGETS)
    markdown, resources = MarkdownExporter().from_notebook_node(cells)
    for name, picture in resources["outputs"].items():
        data = base64.b64encode(picture).decode()
        markdown = markdown.replace(f"]({name})", f"](data:image/png;base64,{data})")
    return markdown


def on_page_markdown(markdown, page, **_):
    """Execute notebooks, and fill in what the code says."""
    if page.file.src_uri.startswith("notebooks/"):
        markdown = notebook(markdown)
    return PART.sub(lambda found: PARTS[found[1]](*found[2].split()), markdown)


def on_page_content(content, **_):
    """Formulas as MathML."""
    return FORMULA.sub(
        lambda found: convert(
            html.unescape(found[2]), display="block" if found[1] == "div" else "inline"
        ),
        content,
    )
