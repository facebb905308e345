"""`wds:PATTERN`: samples in shards, their labels, and the splits that names of shards state."""

import json
import pickle
import shutil
import tarfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from image_files import add_member, encoded, noise

from rmtgen.datasets import dataset_files, load_dataset, load_split
from rmtgen.datasets.catalogue import default_sizes
from rmtgen.datasets.shards import ShardImages
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    RmtgenWarning,
    UsageError,
)
from rmtgen.report.wording import dataset_names
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import local_inputs

PIXELS = noise(32, 8, 8, 3)


def shard(path, numbers, label=lambda number: {"cls": str(number % 2)}, suffix="png"):
    """Write a sample for each number, its label after its image."""
    path.parent.mkdir(exist_ok=True)
    path.unlink(missing_ok=True)
    for number in numbers:
        add_member(path, f"{number:04d}.{suffix}", encoded(PIXELS[number], suffix.lower()))
        for kind, text in label(number).items():
            add_member(path, f"{number:04d}.{kind}", text.encode())
    return path


@pytest.fixture
def shards(tmp_path):
    for number in range(4):
        shard(tmp_path / f"s-{number:02d}.tar", range(8 * number, 8 * number + 8))
    return tmp_path


def labels_of(data):
    return {
        int(data.images.locate(k).rpartition(":")[2].partition(".")[0]): data.classes[label]
        for k, label in enumerate(data.labels)
    }


def everything(name, **options):
    split = load_split(name, train=None, test=None, **options)
    return labels_of(split.train) | labels_of(split.test)


EXPECTED = {number: str(number % 2) for number in range(32)}


@pytest.mark.parametrize("pattern", ["s-{00..03}.tar", "s-*.tar", "s-0[0-3].tar"])
def test_shards_give_their_pictures_and_classes(shards, pattern):
    split = load_split(f"wds:{shards}/{pattern}", train=None, test=None)
    assert labels_of(split.train) | labels_of(split.test) == EXPECTED
    assert (len(split.train), len(split.test)) == (26, 6)
    assert split.train.classes == ("0", "1")
    assert sorted([*split.train.indices, *split.test.indices]) == list(range(32))
    for data in (split.train, split.test):
        for position, index in enumerate(data.indices):
            assert np.array_equal(data[position], PIXELS[index])
    assert default_sizes(f"wds:{shards}/{pattern}", None, 99, 99) == (26, 6)
    assert default_sizes(f"wds:{shards}/nix", None, 99, 98) == (99, 98)


def test_one_tar_is_a_shard_too_and_order_does_not_depend_on_it(shards, tmp_path):
    one = shard(tmp_path / "one.tar", reversed(range(32)))
    data = load_dataset(f"wds:{one}", shuffle=False)
    assert labels_of(data).items() <= EXPECTED.items()
    assert data.indices.tolist() == sorted(data.indices)
    assert data.images.locate(0) == f"{one}:{data.indices[0]:04d}.png"


def test_shards_are_read_by_threads_and_from_a_pickle(shards):
    data = load_dataset(f"wds:{shards}/s-*.tar")
    assert isinstance(data.images, ShardImages)
    expected = data.digests()
    with ThreadPoolExecutor(8) as threads:
        assert list(threads.map(data.images.examine, range(len(data)))) == expected
    again = pickle.loads(pickle.dumps(data))
    assert again.digests() == expected
    assert again.subset([3, 1]).digests() == [expected[3], expected[1]]
    (shards / "s-00.tar").write_bytes(b"")
    with pytest.raises(CorruptInputError, match=r"must hold \d+ bytes, got 0: the archive was"):
        data.digests()


@pytest.mark.parametrize(
    "label",
    [
        lambda k: {"json": json.dumps({"label": k % 2, "caption": "x"})},
        lambda k: {"json": json.dumps({"class": f"{k % 2}"})},
        lambda k: {"cls": f" {k % 2}\n", "json": "{}"},
        lambda k: {"cls": f"00{k % 2}", "txt": "a caption", "seg.png": "x"},
    ],
)
@pytest.mark.filterwarnings("ignore:.*files passed over")
def test_labels_are_read_from_either_file(tmp_path, label):
    assert everything(f"wds:{shard(tmp_path / 'a.tar', range(32), label)}") == EXPECTED


def test_other_members_are_passed_over_and_counted(tmp_path):
    path = shard(tmp_path / "a.tar", range(32), lambda k: {"cls": str(k % 2), "txt": "x"})
    add_member(path, "._0001.png", b"")
    add_member(path, "README", b"")
    with pytest.warns(RmtgenWarning, match=r"34 files passed over: 32 × \.txt, 1 × hidden, 1 × wi"):
        assert everything(f"wds:{path}") == EXPECTED


def test_names_of_classes_may_be_words_or_stand_beside(tmp_path):
    path = shard(tmp_path / "a.tar", range(32), lambda k: {"json": f'{{"label": "c{k % 3}"}}'})
    assert load_dataset(f"wds:{path}").classes == ("c0", "c1", "c2")
    path = shard(tmp_path / "a.tar", range(32), lambda k: {"cls": str(5 + 5 * (k % 2))})
    assert load_dataset(f"wds:{path}").classes == ("5", "10")
    names = [f"z{9 - k}" for k in range(10)]
    (tmp_path / "classes.txt").write_bytes(
        b"\xef\xbb\xbf" + "\r\n".join([*names, "y", ""]).encode()
    )
    data = load_dataset(f"wds:{path}")
    assert data.classes == ("z4", "y")
    assert labels_of(data) == {k: ("y" if k % 2 else "z4") for k in labels_of(data)}
    assert dataset_files(f"wds:{path}", "data") == (path, tmp_path / "classes.txt")


@pytest.mark.parametrize(
    ("text", "error", "message"),
    [
        ("ant\n", CorruptInputError, r"names the numbers 0 to 0, got 1\. Add the names, or"),
        ("ant\nant\n", CorruptInputError, r"line 2 of .*classes\.txt has 'ant' again"),
        ("ant\n\nbee\n", CorruptInputError, r"line 2 of .* has '' again or nothing"),
        (b"\xe9\nbee", CorruptInputError, "must be text in UTF-8"),
    ],
)
def test_a_damaged_file_of_names_is_refused(shards, text, error, message):
    (shards / "classes.txt").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(error, match=message):
        load_dataset(f"wds:{shards}/s-*.tar")


def test_two_files_of_names_must_agree(tmp_path):
    for number, folder in enumerate("ab"):
        shard(tmp_path / folder / "x.tar", range(16 * number, 16 * number + 16))
        (tmp_path / folder / "classes.txt").write_text(f"ant\nbee{number}\n")
    with pytest.raises(UsageError, match=r"one classes\.txt: .* differ"):
        load_dataset(f"wds:{tmp_path}/*/x.tar")


@pytest.mark.parametrize(
    ("members", "fault"),
    [
        ({"a.cls": b"1"}, r"s-00\.tar:a \(no image\)"),
        ({"a.json": b"{}"}, r"s-00\.tar:a \(no image\)"),
        ({"a.png": b""}, r"s-00\.tar:a \(no label\)"),
        ({"a.png": b"", "a.JPG": b"", "a.cls": b"1"}, r"a \(2 images, a\.JPG and a\.png\)"),
        ({"a.png": b"", "a.cls": b"ant"}, r"a \(label 'ant' in \.cls is no class number\)"),
        ({"a.png": b"", "a.cls": b"-1"}, r"a \(label '-1' in \.cls is no class number\)"),
        ({"a.png": b"", "a.cls": b"1" * 5000}, r"a \(a \.cls of 5,000 bytes\)"),
        ({"a.png": b"", "a.json": b'{"x": 1}'}, r"a \(no label in \.json\)"),
        ({"a.png": b"", "a.json": b"[1]"}, r"a \(no label in \.json\)"),
        ({"a.png": b"", "a.json": b'{"label": true}'}, r"a \(label True in \.json is no class\)"),
        ({"a.png": b"", "a.json": b'{"label": 0.5}'}, r"a \(label 0\.5 in \.json is no class\)"),
        ({"a.png": b"", "a.json": b'{"label": "\\ud800"}'}, r"in \.json is no class\)"),
        ({"a.png": b"", "a.json": b"{"}, r"a \(a damaged \.json \("),
        ({"a.png": b"", "a.json": b"[" * 10**5}, r"a \(a damaged \.json \("),
    ],
)
def test_a_sample_without_image_or_label_is_named_or_skipped(shards, members, fault):
    for name, content in members.items():
        add_member(shards / "s-00.tar", name, content)
    name = f"wds:{shards}/s-*.tar"
    with pytest.raises(CorruptInputError, match=rf"has 1 of 33 that are not: .*{fault}"):
        load_dataset(name)
    with pytest.warns(RmtgenWarning, match=r"1 file passed over: 1 × no (image|label|sound)"):
        assert everything(name, on_corrupt="skip") == EXPECTED


def test_a_shard_without_samples_is_named(tmp_path):
    add_member(tmp_path / "a.tar", "cat/1.txt", b"")
    with pytest.raises(MissingInputError, match=r"got none in 1 shards\. 1 file passed over"):
        load_dataset(f"wds:{tmp_path}/a.tar")
    add_member(tmp_path / "a.tar", "cat/1.png", b"")
    with pytest.raises(CorruptInputError, match=r"has 1 of 1 that are not: a\.tar:cat/1 \(no"):
        load_split(f"wds:{tmp_path}/a.tar", train=1, test=1, on_corrupt="skip")


def test_damaged_and_compressed_shards_are_named(shards):
    name, last = f"wds:{shards}/s-*.tar", shards / "s-03.tar"
    content = last.read_bytes()
    last.write_bytes(content[: len(content) // 2])
    with pytest.raises(CorruptInputError, match=r"s-03\.tar (is not a valid tar|must end with)"):
        load_dataset(name)
    with tarfile.open(last, "w:gz") as packed:
        packed.add(shards / "s-00.tar", "x")
    with pytest.raises(UsageError, match=r"a shard must be an uncompressed \.tar, got .* \(gzip\)"):
        load_dataset(name)
    shutil.copy(shards / "s-00.tar", last)
    add_member(last, "../x.png", b"")
    with pytest.raises(CorruptInputError, match=r"holds '\.\./x\.png', but its name leads out"):
        load_dataset(name)


def test_a_pattern_must_be_given_and_match(shards):
    with pytest.raises(UsageError, match=r"wds: must be followed by a pattern, got none"):
        load_dataset("wds:")
    with pytest.raises(MissingInputError, match=r"matches no file\. In .*Did you mean s-0"):
        load_dataset(f"wds:{shards}/s-9.tar")
    assert dataset_files(f"wds:{shards}/s-9.tar", "data") == ()


def test_the_names_of_shards_state_the_splits(tmp_path):
    for number, name in enumerate(("train-00", "train-01", "my_Val-00", "test-00")):
        shard(tmp_path / f"{name}.tar", range(8 * number, 8 * number + 8))
    split = load_split(f"wds:{tmp_path}/{{train-00,train-01,my_Val-00}}.tar", train=None, test=None)
    assert set(labels_of(split.train)) == set(range(16))
    assert set(labels_of(split.test)) == set(range(16, 24))
    with pytest.warns(RmtgenWarning, match="8 files passed over: 8 × of the validation set"):
        split = load_split(f"wds:{tmp_path}/*.tar", train=None, test=None)
    assert set(labels_of(split.test)) == set(range(24, 32))
    with pytest.raises(UsageError, match=r"states its splits already\. Leave it out, or give"):
        load_split(f"wds:{tmp_path}/t*.tar", train=None, test=None, split=0.5)
    alone = load_split(f"wds:{tmp_path}/train-*.tar", train=None, test=None)
    assert set(labels_of(alone.train)) | set(labels_of(alone.test)) == set(range(16))
    shutil.copy(tmp_path / "train-00.tar", tmp_path / "trainer-00.tar")
    with pytest.raises(UsageError, match=r"has 1 of 4 that are not \(trainer-00\.tar, …\)"):
        load_dataset(f"wds:{tmp_path}/t*.tar")


def test_folders_state_the_splits_and_each_shard_has_its_role(tmp_path):
    for number, folder in enumerate(("train", "val")):
        shard(tmp_path / folder / "000.tar", range(16 * number, 16 * number + 16))
    name = f"wds:{tmp_path}/{{train,val}}/000.tar"
    split = load_split(name, train=None, test=None)
    assert set(labels_of(split.test)) == set(range(16, 32))
    roles = local_inputs(Config(dataset=name, init="random"))
    assert sorted(roles) == ["dataset train/000.tar", "dataset val/000.tar"]


@pytest.mark.parametrize(
    ("dataset", "source"),
    [
        ("wds:sets/birds-{00..03}.tar", "birds"),
        ("wds:sets/birds/{train,val}-*.tar", "birds"),
        ("wds:sets/birds.tar", "birds"),
        ("wds:*.tar", "wds"),
        ("csv:sets/birds.csv", "birds"),
        ("folder:sets/birds.tar", "birds"),
    ],
)
def test_a_run_is_named_after_its_data(dataset, source):
    run = Config(dataset=dataset, init="random")
    assert run.run_name.startswith(f"resnet50-random-{source}-n10000-224px-")


def test_short_names_of_data_sets_in_reports():
    names = ["csv:a/birds.csv", "csv:fish.tsv", "wds:s/ants-{0..3}.tar", "folder:x/cats", "svhn"]
    expected = ["birds", "fish", "ants-{0..3}", "cats", "svhn"]
    assert list(dataset_names(names).values()) == expected
