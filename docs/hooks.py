"""What the pages take from the code, so that nothing is written twice, and how they show formulas.

A line `{{ NAME WORDS }}` of a page is replaced by what the function NAME of `PARTS` returns. Pages
under notebooks/ are Jupytext notebooks: they are executed, and shown with their outputs. Formulas
between dollar signs become MathML, which browsers draw without a script.
"""

import base64
import dataclasses
import html
import importlib
import inspect
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
from rmtgen.runs import columns
from rmtgen.runs.config import EXPERIMENTS, FIELDS

ROOT = Path(__file__).resolve().parent.parent
PART = re.compile(r"^\{\{ (\w+)((?: \S+)*) \}\}$", re.MULTILINE)
AT_ROOT = {"metadata": {"path": str(ROOT)}}
"""Where notebooks are executed."""
FORMULA = re.compile(r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL)
PAGES = {
    "CHANGELOG.md": "changelog.md",
    "CONTRIBUTING.md": "contributing.md",
    "README.md": "index.md",
    "checkpoints/README.md": "howto/offline.md",
    "data/README.md": "reference/files.md",
}
"""Files of the repository, and the page that shows each."""


def file(path: str) -> str:
    """A Markdown file of the repository, its links leading to pages."""
    text = (ROOT / path).read_text(encoding="utf-8").replace("](docs/", "](")
    for source, page in PAGES.items():
        text = text.replace(f"]({source}", f"]({page}")
    return text


def section(path: str) -> str:
    """A Markdown file of the repository without its title, to stand below a heading of the page."""
    return file(path).partition("\n")[2]


def room(name: str) -> str:
    """The modules of a room, each documented from its docstrings."""
    package = importlib.import_module(f"rmtgen.{name}")
    modules = sorted(
        module.name for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}.")
    )
    return "\n\n".join(
        [
            f"::: {package.__name__}\n    options: {{show_root_toc_entry: false}}",
            *(
                f"## `{module}`\n\n::: {module}\n    options: {{heading_level: 3}}"
                for module in modules
            ),
        ]
    )


def public() -> str:
    """The names of the package, each with its first sentence, by the room that defines it."""
    rows = ["| name | what it is | room |", "|---|---|---|"]
    for name in rmtgen.__all__:
        item = getattr(rmtgen, name)
        first = inspect.getdoc(item).split("\n\n")[0].replace("\n", " ").replace("|", r"\|")
        home = item.__module__.split(".")[1]
        rows.append(
            f"| [`{name}`][{item.__module__}.{item.__qualname__}] | {first} | [{home}](api/{home}.md) |"
        )
    return "\n".join(rows)


def command(*words: str) -> str:
    """What a command of this package prints."""
    script = (
        str(Path(sys.executable).with_name(words[0])) if words[0] != "python" else sys.executable
    )
    done = subprocess.run(
        [script, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return f"```text\n$ {' '.join(words)}\n{done.stdout.strip()}\n```"


def fields() -> str:
    """Every field of the configuration, with its default and the first stages whose result it changes."""
    rows = ["| field | default | meaning | changes the result of |", "|---|---|---|---|"]
    for field in FIELDS.values():
        meaning = html.escape(field.metadata["help"])
        stages = ", ".join(field.metadata["stages"]) or "–"
        rows.append(f"| `{field.name}` | {_default(field)} | {meaning} | {stages} |")
    return "\n".join(rows)


def _default(field: dataclasses.Field) -> str:
    value = field.default
    if isinstance(value, tuple):
        value = f"{', '.join(f'{x:.3g}' for x in value[:3])}, …, {value[-1]:.3g}"
    return f"`{value}`"


def experiments() -> str:
    """Every shipped experiment: its leading comment and its content."""
    return "\n\n".join(
        f'### `{path.stem}`\n\n```yaml title="{path.name}"\n{path.read_text(encoding="utf-8").strip()}\n```'
        for path in sorted(EXPERIMENTS.glob("*.yaml"))
    )


def csv_columns() -> str:
    """Every column of every CSV."""
    return columns.as_markdown()


PARTS = {
    part.__name__: part
    for part in (file, section, room, public, command, fields, experiments, csv_columns)
}


def notebook(text: str) -> str:
    """A Jupytext notebook, executed: its Markdown, with the outputs below each cell."""
    cells = jupytext.reads(text, fmt="md")
    quiet = ["--log-level=ERROR"]
    NotebookClient(cells, timeout=600, resources=AT_ROOT, extra_arguments=quiet).execute()
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
