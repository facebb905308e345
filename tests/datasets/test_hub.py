"""The data sets of the hub, against a stand-in for the package `datasets`."""

import sys
import types
from hashlib import blake2b

import numpy as np
import pytest
from hub_tables import HubTable, install
from image_files import encoded, noise

from rmtgen.datasets import (
    load_dataset,
    load_split,
)
from rmtgen.errors import CorruptInputError, MissingInputError, UsageError


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A stand-in for the package `datasets` with one set, `someone/pets`.

    The images of the split train are inside the table, those of validation are files.
    """
    contents = [encoded(picture) for picture in noise(12, 8, 8, 3)]
    rows = [{"bytes": content, "path": None} for content in contents[:8]]
    for number, content in enumerate(contents[8:]):
        (tmp_path / f"{number}.png").write_bytes(content)
        rows.append({"bytes": None, "path": str(tmp_path / f"{number}.png")})
    features = {"fine_label": types.SimpleNamespace(names=["cat", "dog"])}
    tables = {
        "train": HubTable({"img": rows[:8], "fine_label": [0, 1] * 4}, features),
        "validation": HubTable({"img": rows[8:], "fine_label": [1, 0] * 2}, features),
    }

    def load(name):
        if name != "someone/pets":
            raise ConnectionError("hub unreachable")
        return tables

    install(monkeypatch, load)
    return types.SimpleNamespace(tables=tables, contents=contents, folder=tmp_path)


def test_a_set_of_the_hub_is_read(hub):
    split = load_split("hfds/someone/pets", train=None, test=None, download=True)
    assert split.train.classes == ("cat", "dog")
    assert np.array_equal(split.train.labels, split.train.indices % 2)
    assert np.array_equal(split.test.labels, 1 - split.test.indices % 2)
    for data, start in ((split.train, 0), (split.test, 8)):
        expected = [hub.contents[start + index] for index in data.indices]
        assert data.digests() == [blake2b(content, digest_size=16).digest() for content in expected]
        assert data[0].mode == "RGB"


def test_a_vanished_file_of_the_hub_is_named(hub):
    (hub.folder / "2.png").unlink()
    with pytest.raises(MissingInputError, match=r"2\.png cannot be read: No such file"):
        load_split("hfds/someone/pets", train=None, test=None, download=True)


def test_plain_integer_labels_are_named_by_their_number(hub):
    hub.tables["train"].features["fine_label"] = types.SimpleNamespace(dtype="int64")
    assert load_dataset("hfds/someone/pets", download=True).classes == ("0", "1")


def test_the_hub_is_not_reached_without_consent(hub):
    with pytest.raises(UsageError, match=r"expected download=True, got False.*HF_HUB_OFFLINE=1"):
        load_dataset("hfds/someone/pets")


def test_what_the_hub_lacks_is_named(hub, monkeypatch):
    with pytest.raises(
        MissingInputError,
        match=r"hfds/nobody/none could not be loaded \(ConnectionError: hub unreachable\)",
    ):
        load_dataset("hfds/nobody/none", download=True)
    hub.tables["train"].columns["fine_label"][3] = -1
    with pytest.raises(
        CorruptInputError, match=r"has 1 of 8 without: train row 3 \(no label\)\. Label them, or"
    ):
        load_dataset("hfds/someone/pets", download=True)
    hub.tables["train"].columns["fine_label"][3] = -2
    with pytest.raises(CorruptInputError, match=r"class numbers ≥ 0: hfds/someone/pets has -2\. C"):
        load_dataset("hfds/someone/pets", download=True)
    hub.tables["train"].column_names[:] = ["photo", "fine_label"]
    with pytest.raises(
        UsageError, match="image column must be named image or img, got photo, fine_label"
    ):
        load_dataset("hfds/someone/pets", download=True)
    del hub.tables["validation"]
    with pytest.raises(UsageError, match="split must be named test or validation, got train"):
        load_dataset("hfds/someone/pets", split="test", download=True)
    for absent in (None, types.ModuleType("datasets")):  # a folder of that name is a module too
        monkeypatch.setitem(sys.modules, "datasets", absent)
        with pytest.raises(
            MissingInputError, match=r"needs the package datasets.*pip install 'rmtgen\[hub\]'"
        ):
            load_dataset("hfds/someone/pets", download=True)
