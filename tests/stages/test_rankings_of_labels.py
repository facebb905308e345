"""`rmtgen rank` on one data set as a table, shards, a set of the hub, and features: one ranking."""

import io
import json
import tarfile

import numpy as np
import pandas as pd
import pytest
from hub_tables import HubTable, install
from PIL import Image

from rmtgen.cli.main import main
from rmtgen.runs.run import load_run

N = 60
RIDGES = "ridges=1e-4:1e1:11"


@pytest.fixture(autouse=True)
def without_figures(monkeypatch):
    monkeypatch.setattr("rmtgen.stages.rank.save_figures", lambda *_: [])


@pytest.fixture(scope="module")
def sources(tmp_path_factory):
    """The same squares in set.csv, set.tar and saved/; and their fields."""
    folder, rng = tmp_path_factory.mktemp("squares"), np.random.default_rng(0)
    fields: dict[str, list] = {"age": [], "weight": [], "tags": [], "kind": []}
    encoded = []
    for number in range(N):
        hue, size = rng.random(), int(rng.integers(4, 28))
        pixels = rng.integers(0, 25, (32, 32, 3)).astype(np.uint8)
        pixels[:size, :size] += np.array([220 * hue, 220 * (1 - hue), 60]).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number:02d}.png")
        encoded.append((folder / f"{number:02d}.png").read_bytes())
        tags = ["red"] * (hue > 0.5) + ["large"] * (size > 16)
        cells = (round(20 + 30 * hue, 1), 1000.0 * size, tags, "ab"[hue > 0.5])
        for name, cell in zip(fields, cells, strict=True):
            fields[name].append(cell)
    rows = zip(range(N), *fields.values(), strict=True)
    lines = [f"{n:02d}.png,{age},{weight},{';'.join(t)},{kind}" for n, age, weight, t, kind in rows]
    (folder / "set.csv").write_text("\n".join(["path,age,weight,tags,kind", *lines]))
    with tarfile.open(folder / "set.tar", "w") as archive:
        for number in range(N):
            named = {name: cells[number] for name, cells in fields.items()}
            files = {"png": encoded[number], "json": json.dumps(named).encode()}
            for suffix, content in files.items():
                member = tarfile.TarInfo(f"{number:02d}.{suffix}")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    (folder / "saved").mkdir()
    (folder / "saved" / "state.json").write_text("{}")
    return folder, fields, encoded


@pytest.fixture
def names(sources, monkeypatch):
    """The names of the sources of images."""
    folder, fields, encoded = sources
    images = [{"bytes": content, "path": None} for content in encoded]
    table = HubTable({"image": images, **fields}, {})
    install(monkeypatch, None, {str(folder / "saved"): table}.__getitem__)
    return [f"csv:{folder / 'set.csv'}", f"wds:{folder / 'set.tar'}", f"hfds/{folder / 'saved'}"]


NETWORK = ("model=test_resnet", "init=random", "img_size=32")
SCORES = ["dim", "loo", "loo_low", "loo_high", "with_more"]


def ranked(output, *words):
    assert main(["rank", *words, RIDGES, f"output={output}"]) == 0
    (path,) = output.glob("reports/*/ranking.csv")
    (run,) = map(load_run, output.glob("runs/*"))
    return pd.read_csv(path)[SCORES], run


@pytest.mark.parametrize(
    ("words", "column"),
    [
        (("task=values", "columns=age,weight"), None),
        (("task=labels", "columns=tags"), "tags"),
        (("columns=kind",), "kind"),
    ],
)
def test_every_source_gives_the_ranking_of_a_table(sources, names, tmp_path, words, column):
    _, fields, _ = sources
    expected, first = ranked(tmp_path / "csv", f"dataset={names[0]}", *words, *NETWORK)
    for number, name in enumerate(names[1:]):
        found, run = ranked(tmp_path / f"{number}", f"dataset={name}", *words, *NETWORK)
        assert np.array_equal(run.labels.train, first.labels.train) and run.classes == first.classes
        pd.testing.assert_frame_equal(found, expected)
    features = np.empty_like(first.features.train[:])
    features[first.indices.train] = first.features.train[:]
    given = {"labels": np.array([fields["age"], fields["weight"]]).T, "names": ["age", "weight"]}
    if column is not None:
        cells = fields[column]
        given = {column: np.array([";".join(c) if column == "tags" else c for c in cells])}
    np.savez(tmp_path / "own.npz", features=features, **given)
    own, run = ranked(tmp_path / "own", f"dataset=features:{tmp_path / 'own.npz'}", *words)
    assert np.array_equal(run.labels.train, first.labels.train) and run.classes == first.classes
    pd.testing.assert_frame_equal(own, expected, rtol=1e-9)


def test_features_of_the_same_values_stand_beside_a_network(sources, names, tmp_path, monkeypatch):
    _, fields, _ = sources
    monkeypatch.chdir(tmp_path)
    values = np.array([fields["age"], fields["weight"]]).T
    own = np.random.default_rng(1).standard_normal((N, 3)).astype(np.float32)
    np.savez("own.npz", features=own, labels=values, names=["age", "weight"])
    words = ("task=values", "columns=age,weight", "init=random", "img_size=32")
    joint = "model=test_resnet+features:own.npz"
    assert main(["rank", f"dataset={names[0]}", joint, *words, RIDGES]) == 0
    runs = map(load_run, tmp_path.glob("data/runs/*"))
    (run,) = (run for run in runs if "+" in run.config.get("model", ""))
    assert np.allclose(run.labels.train, values[run.indices.train])


def test_images_and_features_of_them_are_ranked_together_where_values_agree(
    sources, names, tmp_path, monkeypatch, capsys
):
    _, fields, _ = sources
    values = np.array([fields["weight"], fields["age"]], dtype=np.float32).T
    monkeypatch.chdir(tmp_path)
    np.savez("own.npz", features=values, labels=values, columns=["weight", "age"])
    words = ["task=values", "columns=age,weight", *NETWORK, RIDGES, "output=out"]
    assert main(["rank", f"dataset={names[0]},features:own.npz", *words]) == 0
    (path,) = tmp_path.glob("out/reports/*/ranking.csv")
    assert set(pd.read_csv(path)["representation"]) == {"own", "test_resnet"}
    values[7, 1] += 1
    np.savez("off.npz", features=values, labels=values, columns=["weight", "age"])
    capsys.readouterr()
    assert main(["rank", f"dataset={names[0]},features:off.npz", *words]) == 3
    said = capsys.readouterr().err.splitlines()[-1]
    age = fields["age"][7]
    assert f"image 7, from 0, which is age {age:g} there and age {age + 1:g} here" in said
    assert f"of {N} labels 1 disagree" in said
    tags = [";".join(some) for some in fields["tags"]]
    for file, cells, message in (
        ("turned", tags[1:] + tags[:1], "disagree between"),
        ("more", [f"{cell};x" for cell in tags], "has large, red, and"),
    ):
        np.savez(f"{file}.npz", features=values, tags=np.array(cells))
        both = f"dataset={names[0]},features:{file}.npz"
        assert main(["rank", both, "task=labels", "columns=tags", *words[2:]]) == 3
        assert message in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize(
    ("source", "words", "code", "message"),
    [
        (
            "own",
            ["task=values"],
            2,
            "row for each row of features: expected (60, c) or (60,), got (3,",
        ),
        ("own", ["task=values", "columns=ago"], 2, "it has no ago. Did you mean age?"),
        (
            "own",
            ["task=values", "columns=age"],
            3,
            "has 1 of 60 without: row 4 (no label). Label them",
        ),
        (
            "own",
            ["task=labels", "columns=bad"],
            2,
            "has int64, such as 0. One number for each row is",
        ),
        (0, ["task=labels", "columns=age,weight"], 3, "column age of"),
        (1, ["task=values", "columns=tags"], 3, "must hold a list of 1, as"),
        (1, ["task=values", "columns=ago"], 3, "60 of 60 that are not: set.tar:00 (no label)"),
        (2, ["task=values", "columns=ago"], 2, "train has no ago. Did you mean"),
        (2, ["task=values", "columns=kind"], 3, "must hold a number in every row: train row 0 has"),
        (2, ["columns=age,kind"], 2, "a class is in one column, got columns=age,kind"),
        ("folder", ["task=values"], 2, "task=values: the images of folder:"),
        ("folder", ["columns=age"], 2, "have a class each. Leave it out, or list them in a table"),
    ],
)
def test_what_cannot_be_is_one_line(sources, names, tmp_path, source, words, code, message, capsys):
    folder, fields, _ = sources
    ages = np.array(fields["age"])
    ages[4] = np.nan
    own = tmp_path / "own.npz"
    np.savez(own, features=np.eye(N), labels=np.zeros((3, 2)), age=ages, bad=np.arange(N))
    found = {"own": f"features:{own}", "folder": f"folder:{folder}"}.get(source)
    name = names[source] if found is None else found
    network = () if source == "own" else NETWORK
    assert main(["rank", f"dataset={name}", *words, *network, f"output={tmp_path / 'o'}"]) == code
    said = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(said) == 1 and message in said[0]
