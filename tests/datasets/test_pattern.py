"""Patterns of file names: braces as in bash, globs, near names."""

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rmtgen.datasets.pattern import expand, matching
from rmtgen.errors import MissingInputError, StorageError, UsageError


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        ("a.tar", ["a.tar"]),
        ("a-{000..002}.tar", ["a-000.tar", "a-001.tar", "a-002.tar"]),
        ("a-{8..11}", ["a-8", "a-9", "a-10", "a-11"]),
        ("a-{08..11}", ["a-08", "a-09", "a-10", "a-11"]),
        ("a-{008..11}", ["a-008", "a-009", "a-010", "a-011"]),
        ("a-{8..011}", ["a-008", "a-009", "a-010", "a-011"]),
        ("a-{0..10}", [f"a-{number}" for number in range(11)]),
        ("{train,val}-{0..1}", ["train-0", "train-1", "val-0", "val-1"]),
        ("{a,b{1..2}}", ["a", "b1", "b2"]),
        ("{a,a}{,x}", ["a", "ax"]),
    ],
)
def test_braces_stand_for_names_in_order(pattern, names):
    assert expand(pattern) == names
    said = subprocess.run(["bash", "-c", f"echo {pattern}"], capture_output=True, text=True)
    assert list(dict.fromkeys(said.stdout.split())) == names


@given(low=st.integers(0, 120), count=st.integers(1, 30), width=st.integers(1, 5))
def test_ranges_keep_their_zeros(low, count, width):
    first, last = f"{low:0{width}}", f"{low + count - 1:0{width}}"
    found = expand(f"s{{{first}..{last}}}.tar")
    assert [int(name[1:-4]) for name in found] == list(range(low, low + count))
    assert found[0] == f"s{first}.tar"
    if first.startswith("0"):
        assert {len(name) for name in found} == {len(found[-1])}


@pytest.mark.parametrize(
    ("pattern", "message"),
    [
        ("a{3..1}", r"a rising range such as 000\.\.015, .*: got \{3\.\.1\}"),
        ("a{}", r"got \{\}"),
        ("a{x..z}", r"got \{x\.\.z\}"),
        ("a{0..999999}", r"may stand for 100,000 files, got \{0\.\.999999\}"),
        ("{0..999}{0..999}", "may stand for 100,000 files, got more"),
    ],
)
def test_braces_that_cannot_be_read_are_named(pattern, message):
    with pytest.raises(UsageError, match=message):
        expand(pattern)


def test_files_are_found_once_in_the_order_of_the_pattern(tmp_path, monkeypatch):
    for name in ("b1.tar", "b0.tar", "a0.tar", "odd{1}.tar", "x[1].tar"):
        (tmp_path / name).touch()
    (tmp_path / "b2.tar").mkdir()
    found = {
        "b{0..1}.tar": ["b0.tar", "b1.tar"],
        "b*.tar": ["b0.tar", "b1.tar"],
        "{b*,a0,b0}.tar": ["b0.tar", "b1.tar", "a0.tar"],
        "?0.tar": ["a0.tar", "b0.tar"],
        "odd{1}.tar": ["odd{1}.tar"],
        "x[1].tar": ["x[1].tar"],
    }
    for pattern, names in found.items():
        assert matching(f"{tmp_path}/{pattern}") == [tmp_path / name for name in names]
    monkeypatch.setenv("HOME", str(tmp_path))
    assert matching("~/b?.tar") == [tmp_path / "b0.tar", tmp_path / "b1.tar"]


def test_what_is_missing_is_counted_and_near_names_are_shown(tmp_path):
    for number in range(3):
        (tmp_path / f"train-{number:03}.tar").touch()
    for pattern, message in (
        ("trein-*.tar", r"trein-\*\.tar matches no file\. In .*: Did you mean train-00"),
        ("train-{001..005}.tar", r"stands for must be a file: 3 of 5 are not \(.*/train-003\.tar,"),
        ("nowhere/x/a.tar", r"matches no file\. In .*: Known: train-000\.tar, train-001"),
        ("train-000.tar/a.tar", "matches no file"),
    ):
        with pytest.raises(MissingInputError, match=message):
            matching(f"{tmp_path}/{pattern}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(MissingInputError, match=r"There is no \.tar in .*/empty/"):
        matching(f"{tmp_path}/empty/*.tar")
    with pytest.raises(UsageError, match=r"got the folder .*/empty\. Write .*/empty/\*\.tar"):
        matching(f"{tmp_path}/empty")
    with pytest.raises(StorageError, match="cannot be read: File name too long"):
        matching("x" * 5000)
