"""The pages as text: their links, their lists, their words."""

import configparser
import re

import pytest
import yaml
from pages import FILES, NOTEBOOKS, PAGES, ROOT, prose_of, text_of

import rmtgen
from rmtgen.ridge import SOLVERS

MAKEFILE_COMMENTS = "\n".join(
    line for line in text_of("Makefile").splitlines() if line.startswith("#")
)


def anchors(text):
    """The names that a page's headings have as links; `{#name}` gives one its own."""
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    own = {name for heading in headings for name in re.findall(r"\{#([\w-]+)\}", heading)}
    return own | {re.sub(r"[^\w\- ]", "", name.lower()).replace(" ", "-") for name in headings}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page):
    """A page of the site leads to files below docs/, any other file to files of the repository."""
    for link in re.findall(r"\]\(([^)]+)\)", prose_of(page)):
        if link.startswith("http"):
            continue
        path, _, anchor = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        assert target.is_file(), link
        assert not anchor or anchor in anchors(target.read_text(encoding="utf-8")), link


def test_every_block_has_a_language_that_is_tested():
    for page in PAGES:
        fences = re.findall(r"^```(.*)$", text_of(page), re.MULTILINE)
        assert set(fences[::2]) <= {"sh", "python", "yaml"}, page
        assert set(fences[1::2]) <= {""}, page


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= 900


@pytest.mark.parametrize("page", [*PAGES, *(path.relative_to(ROOT) for path in NOTEBOOKS)], ids=str)
def test_plain_words(page):
    assert not re.findall(r"\b(?:fore)?(?:tell|tells|told)\b", text_of(page), re.IGNORECASE)


def test_plain_words_in_the_makefile():
    assert not re.findall(r"\b(?:fore)?(?:tell|tells|told)\b", MAKEFILE_COMMENTS, re.IGNORECASE)


def test_pictures_are_small():
    for picture in (ROOT / "docs" / "assets").glob("*.png"):
        assert picture.stat().st_size < 300_000, picture


def rows(page, heading):
    """The first column of the table that begins with a heading, code alone."""
    table = re.search(rf"^\| {heading} \|.*\n(\|.*\n)+", text_of(page), re.MULTILINE)[0]
    return re.findall(r"^\| `([\w/]+)` \|", table, re.MULTILINE)


def rooms():
    return {path.name for path in (ROOT / "rmtgen").iterdir() if (path / "__init__.py").exists()}


def test_lists_are_whole():
    """Names that pages list and that the code knows: solvers, extras, rooms and leaves."""
    assert rows("docs/howto/gram.md", "solver") == list(SOLVERS)
    declared = configparser.ConfigParser()
    declared.read(ROOT / "setup.cfg", encoding="utf-8")
    extras = set(declared["options.extras_require"])
    assert set(rows("docs/start.md", "extra")) == extras
    assert {name.strip("/") for name in rows("docs/design.md", "room")} == rooms()
    leaves = {path.stem for path in (ROOT / "rmtgen").glob("*.py") if path.stem[0] != "_"}
    assert all(f"`{leaf}`" in text_of("docs/design.md") for leaf in leaves)
    documented = re.findall(r"^::: rmtgen\.(\w+)$", text_of("docs/reference/api/leaves.md"), re.M)
    assert set(documented) == leaves


def test_every_room_has_a_page():
    site = yaml.load(text_of("mkdocs.yml"), Loader=yaml.BaseLoader)
    listed = re.findall(r"reference/api/(\w+)\.md", str(site["nav"]))
    assert set(listed) == rooms() | {"leaves"}


def test_the_citation_names_this_version():
    citation = yaml.safe_load(text_of("CITATION.cff"))
    assert citation["version"] == rmtgen.__version__
    assert citation["references"][0]["identifiers"][0]["value"] == "arXiv:2203.06176"


def test_files_of_the_site_have_a_page():
    """Files of the repository that the site shows are shown once."""
    shown = re.findall(
        r"\{\{ (?:file|section) (\S+) \}\}", "\n".join(text_of(page) for page in PAGES)
    )
    assert sorted(shown) == sorted(FILES)
