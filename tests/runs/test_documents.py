"""YAML files: what a field can take is read as text, all else is refused by line and at once."""

import os
import sys

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rmtgen.errors import MissingInputError, UsageError
from rmtgen.runs.config import FIELDS, Config
from rmtgen.runs.documents import LARGEST, read_documents
from rmtgen.runs.experiment import EXPERIMENTS, load_experiment

LAUGHS = "a: &a [x, x]\n" + "".join(
    f"{name}: &{name} [*{before}, *{before}]\n"
    for before, name in zip("abcdefgh", "bcdefghi", strict=True)
)


@pytest.fixture
def file(tmp_path):
    """Writes a configuration; its path."""

    def write(content):
        path = tmp_path / "mine.yaml"
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("init: no\ndate: 2001-01-01\nbase: 1:5\n", {"init": "no", "date": "2001-01-01"}),
        ("ridges: [.inf, 0x10, 1_0, 1e-8]", {"ridges": [".inf", "0x10", "1_0", "1e-8"]}),
        ("model:\nweights: ~\ninit: '~'\nsizes: []", {"model": "", "weights": "", "init": "~"}),
        ("train: &n 8\ntest: *n\n", {"train": "8", "test": "8"}),
        ("a: &l [1, 2]\nb: *l\n", {"a": ["1", "2"], "b": ["1", "2"]}),
        ("{train: 8, ridges: [1,\n 2]}", {"train": "8", "ridges": ["1", "2"]}),
        ("\ufefftrain: 8\r\ntest: 4\r\n", {"train": "8", "test": "4"}),
        ("train: 8\n".encode("utf-16"), {"train": "8"}),
        ("model: |\n  a\n  b\n", {"model": "a\nb\n"}),
        ("é: ü # ö\n", {"é": "ü"}),
        ("? a\n: b\n", {"a": "b"}),
    ],
)
def test_every_scalar_stays_text(file, content, expected):
    (document,) = read_documents(file(content))
    assert {name: document[name] for name in expected} == expected


@pytest.mark.parametrize("path", sorted(EXPERIMENTS.glob("*.yaml")), ids=lambda path: path.stem)
def test_what_is_shipped_is_read_as_yaml_reads_it(path):
    assert read_documents(path) == list(yaml.load_all(path.read_text(), Loader=yaml.BaseLoader))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("train: 8\ntest: 4\ntrain: 9\n", r"each field once, 'train' is repeated \(line 3\)"),
        ("train: 8\n'train': 9\n", r"'train' is repeated \(line 2\)"),
        ("a: 1\n---\nb: 1\nb: 2\n", r"'b' is repeated \(line 4\)"),
        ("train: {low: 1}\n", r"no mapping within a mapping or a list \(line 1\)"),
        ("a: &a\n  x: 1\n<<: *a\n", "no mapping within"),
        ("ridges: [1, [2]]\n", r"no list within a list \(line 1\)"),
        ("a: &a [1]\nb:\n- *a\n", r"no list within a list \(line 3\)"),
        ("a: &a [*a]\n", "define 'a' before it is used"),
        ("[a]: 1\n", "name of a field, got a list"),
        ("a: &a [1]\n*a : 1\n", "name of a field, got a list"),
        ("train: *n\n", "define 'n' before it is used"),
        ("train: !!int 8\n", "no tag, got 'tag:yaml.org,2002:int'"),
        ("x: !!python/object/apply:os.system [touch mark]\n", "no tag, got .*os.system"),
        ("--- !!python/object:Config\ntrain: 8\n", "no tag"),
        ("- train\n", "must map field names to values, got list"),
        ("train\n", "must map field names to values, got text"),
        ("", "it is empty"),
        ("# nothing\n", "it is empty"),
        ("train: 8\n\ttest: 4\n", "is not valid YAML: .*line 2"),
        ("train: [", "is not valid YAML"),
        (b"train: \xff\n", "is not valid YAML"),
        ("train: 8\n".encode("utf-16-le"), "is not valid YAML"),
        ("a: \0", "is not valid YAML"),
        ('a: "\\UFFFFFFFF"', "is not valid YAML"),
        (f"%YAML 1.{'1' * 5000}\n---\na: 1\n", "is not valid YAML"),
        ("a: " + "x" * LARGEST, f"at most {LARGEST} bytes"),
        (LAUGHS, "no list within a list"),
        *((opening * (LARGEST // len(opening)), "no|list") for opening in ("[", "{", "- ", "? ")),
    ],
    ids=lambda value: value[:20] if isinstance(value, str) else None,
)
def test_what_no_field_can_take_is_refused_in_one_line(file, content, message):
    with pytest.raises(UsageError, match=message) as caught:
        read_documents(file(content))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_memory_is_that_of_the_file(file):
    """What aliases repeat is one list, not a copy for each."""
    content = "a: &a [" + "x, " * 4000 + "]\n" + "".join(f"k{i}: *a\n" for i in range(4000))
    (document,) = read_documents(file(content))
    assert len({id(value) for value in document.values()}) == 1


@pytest.mark.parametrize("kind", ["folder", "fifo", "device", "loop", "gone"])
def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path, kind):
    path = tmp_path / "x.yaml"
    match kind:
        case "folder":
            path.mkdir()
        case "fifo":
            os.mkfifo(path)
        case "device":
            path.symlink_to("/dev/zero")
        case "loop":
            path.symlink_to(path)
        case "gone":
            path.symlink_to(tmp_path / "nothing")
    expected = (OSError,) if kind in ("loop", "gone", "folder") else (UsageError,)
    with pytest.raises((UsageError, *expected)):
        load_experiment(str(path), {})


FILLED = [
    name
    for name, field in FIELDS.items()
    if name not in {"img_size", "head_seed"} and field.default not in (None, ())
]
"""Fields that no value leaves unset."""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        *(
            (f"{name}: []", f"{name}: expected at least one")
            for name in ("model", "init", "kernel")
        ),
        *((f"{name}: []", f"{name}: expected at least one number") for name in ("ridges", "sizes")),
        *((f"{name}: ''", f"{name}: expected") for name in FILLED),
        ("model: [a, '']", "model: expected text, got ''"),
        ("train: [8]", "train: expected a whole number"),
        ("weights: [a.pth]", "weights: expected text"),
        ("<<: 1", "unknown field '<<'"),
        ("? " + "x" * 60000 + "\n: 1", r"unknown field 'x*… \(60002 characters\)"),
        ("train: " + "9" * 60000, r"train: expected a whole number .*\(60002 characters\)"),
        ("ridges: [" + "1:2:10000, " * 5000 + "]", "at most 10000 numbers"),
        (
            "model: [" + ", ".join(f"m{i}" for i in range(1001)) + "]",
            "at most 1,000 runs together, got 1,001: 1,001 of model",
        ),
        (
            "---\nmodel: m\n" + "".join(f"---\nseed: {i}\n" for i in range(1001)),
            "1,000 runs, got 1,001",
        ),
    ],
    ids=lambda value: value[:20],
)
def test_an_empty_or_a_huge_value_is_refused_by_name(file, content, message):
    with pytest.raises(UsageError, match=message) as caught:
        load_experiment(str(file(content)), {})
    assert len(str(caught.value)) < 600


@pytest.mark.parametrize("name", ["ridges", "sizes"])
@pytest.mark.parametrize(
    "value",
    ["", ",", "0,", "1e999", "1_000", "１２", "nan", "-1", "1:2", "1:2:3:4", "0x10", "9" * 9000],
)
def test_what_is_no_number_is_refused_in_a_grid(name, value):
    with pytest.raises(UsageError, match=rf"^{name}: "):
        load_experiment(None, {name: value})


@pytest.mark.parametrize(
    "value", ["1_000", "１２", "1e3", "0x10", "9" * 5000, str(10**10), "", "+-1"]
)
def test_what_is_no_count_is_refused(value):
    for name in ("train", "test", "trials", "batch_size"):
        with pytest.raises(UsageError, match=rf"^{name}: expected a whole number"):
            load_experiment(None, {name: value})


def test_an_amount_of_memory_is_bounded():
    for value in ("9" * 400, "１GiB", "1" * 99 + "TB", "1.GiB", "-1GB", "x" * 99999):
        with pytest.raises(UsageError, match="memory: ") as caught:
            load_experiment(None, {"memory": value})
        assert len(str(caught.value)) < 300


PLACES = ("output", "data_root", "checkpoints", "weights")


def test_a_home_folder_is_written_out_in_every_path(monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    (run,) = load_experiment(None, dict.fromkeys(PLACES, "~/a/$HOME/~")).runs
    assert {getattr(run, name) for name in PLACES} == {"/home/me/a/$HOME/~"}
    (run,) = load_experiment(None, dict.fromkeys(PLACES, "~root/a")).runs
    assert {getattr(run, name) for name in PLACES} == {os.path.expanduser("~root/a")}  # noqa: PTH111
    (run,) = load_experiment(None, dict.fromkeys(PLACES, "./~/$HOME/a/")).runs
    assert {getattr(run, name) for name in PLACES} == {"./~/$HOME/a/"}


@pytest.mark.parametrize("name", [*PLACES, "dataset"])
def test_a_home_folder_that_is_not_known_is_refused_by_name(name):
    value = "folder:~nobody-here/a" if name == "dataset" else "~nobody-here/a"
    with pytest.raises(UsageError, match=f"{name}: no home folder is known for '~nobody-here'"):
        load_experiment(None, {name: value})


def test_a_configuration_lies_in_the_home_folder_too(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "mine.yaml").write_text("train: 77\n")
    assert load_experiment("~/mine.yaml", {}).runs[0].train == 77
    with pytest.raises(MissingInputError, match="no configuration '~/other.yaml'"):
        load_experiment("~/other.yaml", {})
    with pytest.raises(UsageError, match="no home folder is known"):
        load_experiment("~nobody-here/mine.yaml", {})


@pytest.mark.parametrize("name", ["x" * 9000, "x" * 9000 + ".yaml", "../cli", "a\0b", " ", "*"])
def test_a_name_that_no_file_can_have_is_a_missing_configuration(name):
    with pytest.raises(MissingInputError, match="no configuration ") as caught:
        load_experiment(name, {})
    assert len(str(caught.value)) < 400


SYNTAX = st.text(st.sampled_from("abtrain:0123-[]{},&*!|>'\"%#?~ \n\t\r\0\\é\ud800"), max_size=40)
LINES = st.builds(
    "{}: {}".format,
    st.one_of(st.sampled_from([*FIELDS, "<<"]), SYNTAX),
    st.one_of(
        SYNTAX,
        st.text(max_size=12),
        st.integers().map(str),
        st.floats().map(str),
        st.sampled_from(["&a [1, 2]", "*a", "[*a]", "!!int 3", "{a: 1}", "", "~", "1:9:3", "auto"]),
    ),
)


def only_a_mistake(config, overrides):
    """A configuration is either read or refused in one line."""
    try:
        experiment = load_experiment(config, overrides)
    except (UsageError, MissingInputError) as error:
        assert "\n" not in str(error)
        assert len(str(error)) < 4000
    else:
        assert all(isinstance(run, Config) and run.run_name for run in experiment.runs)


@settings(max_examples=300, derandomize=True)
@given(content=st.one_of(st.binary(max_size=80), st.lists(LINES, max_size=6).map("\n".join)))
@example(content='train: "\\ud800"')
def test_any_file_is_a_configuration_or_a_mistake(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    data = content if isinstance(content, bytes) else content.encode(errors="surrogatepass")
    path.write_bytes(data)
    only_a_mistake(str(path), {})


@settings(max_examples=300, derandomize=True)
@given(
    overrides=st.dictionaries(
        st.one_of(st.sampled_from([*FIELDS]), st.text(max_size=8)),
        st.one_of(
            st.text(max_size=12),
            SYNTAX,
            st.integers().map(str),
            st.floats().map(str),
            st.sampled_from(["", "~", "entk", "random", "folder:", "auto", "1:9:3", "9" * 5000]),
        ),
        max_size=4,
    )
)
def test_any_words_are_a_configuration_or_a_mistake(overrides):
    only_a_mistake(None, overrides)


def test_an_integer_of_any_length_is_text():
    assert sys.get_int_max_str_digits() < 60000  # so that the test of a huge number means something
