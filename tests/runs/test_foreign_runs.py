"""A run directory from elsewhere is harmless: its digests are right, and it means harm."""

import json
import os
import shutil

import h5py
import numpy as np
import pytest
from damage import edit, record_again

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import CorruptInputError, RmtgenError
from rmtgen.report.loading import load_result
from rmtgen.runs.manifest import FileRecord, Manifest

SECRET = "SECRET-TOKEN-12345678"


@pytest.fixture(autouse=True)
def _no_figures(monkeypatch):
    """The pictures of a report take most of its time and are no subject here."""
    monkeypatch.setattr("rmtgen.stages.report.save_figures", lambda *_: [])


@pytest.fixture
def colleague(copied):
    """A directory that another run takes results from, and words that make that run."""
    run, words = copied
    foreign = run.rename(run.with_name("from-a-colleague"))
    return foreign, [*words, "ridges=1e-3,1"]


def list_output(manifest, name, file):
    content = json.loads(manifest.read_text())
    record = vars(FileRecord.of(file))
    edit(manifest, outputs={**content["outputs"], name: record})


@pytest.mark.parametrize("way", ["absolute", "above", "link", "hidden", "manifest", "backslash"])
def test_taking_over_a_result_touches_nothing_else(colleague, tmp_path, way):
    foreign, words = colleague
    victim, attack = tmp_path / "victim.txt", foreign / "attack"
    victim.write_text("mine")
    attack.write_text("theirs")
    name = {
        "absolute": str(victim),
        "above": "../../../victim.txt",
        "link": "s/victim.txt",
        "hidden": ".lock",
        "manifest": "theory.json",
        "backslash": "..\\victim.txt",
    }[way]
    if way == "link":
        (foreign / "s").symlink_to(tmp_path)
    list_output(foreign / "extract.json", name, victim if way == "absolute" else attack)
    assert main(["run", "--stage", "extract", *words]) == 0  # made, and not taken over
    assert victim.read_text() == "mine"
    (own,) = (one for one in foreign.parent.iterdir() if one != foreign)
    assert "taken_from" not in Manifest.read(own, "extract").provenance
    for read in (rmtgen.load_run, lambda path: main(["verify", f"output={path.parents[1]}"])):
        try:
            assert read(foreign) == 3
        except CorruptInputError as error:
            assert "extract.json is not a manifest" in str(error)
        except AssertionError:
            assert way == "link"  # a link is met when the file is


@pytest.mark.parametrize("name", ["risk.csv", "features.h5", "gram", "risk.json", "spectrum.h5"])
@pytest.mark.parametrize("kind", ["link", "fifo", "device"])
def test_what_is_no_file_is_refused_and_nothing_hangs(copied, capsys, tmp_path, name, kind):
    run, words = copied
    path = run / name
    moved = path.rename(tmp_path / name)
    if kind == "fifo":
        os.mkfifo(path)
    else:
        path.symlink_to(moved if kind == "link" else "/dev/zero")
    assert main(["verify", words[-1], run.name]) == 3
    assert str(path) in capsys.readouterr().err
    with pytest.raises(RmtgenError, match=name):
        read_everything(run)
    assert main(["run", "--stage", "theory", *words]) == 3
    assert main(["ls", words[-1]]) == 0


def read_everything(folder):
    run = rmtgen.load_run(folder)
    run.gram.read()
    return run.risk, run.curve, run.theory, run.spectrum, run.features, run.labels, run.indices


def external(file, secret):
    group = file["trust"]
    count = len(group["message"])
    del group["message"]
    stored = [(str(secret), 0, 22 * count)]
    group.create_dataset("message", (count,), "S22", external=stored)


def linked(file, secret):
    del file["trust/message"]
    file["trust/message"] = h5py.ExternalLink(str(secret), "/x")


@pytest.mark.parametrize("attack", [external, linked])
def test_no_other_file_gets_into_a_page(copied, tmp_path, capsys, attack):
    run, words = copied
    secret = tmp_path / "secret"
    secret.write_text(f"{SECRET}\n" * 20)
    foreign = shutil.copytree(run, run.with_name("foreign"))
    with h5py.File(foreign / "theory.h5", "a") as file:
        attack(file, secret)
    record_again(foreign / "theory.json", "theory.h5")
    assert main(["compare", words[-1]]) == 0
    shown = capsys.readouterr()
    assert "foreign is not reported" in shown.err
    assert "theory.h5 is not a file of rmtgen" in shown.err
    pages = [page.read_text() for page in run.parents[1].glob("reports/compare-*/report.html")]
    assert len(pages) == 1
    assert all(SECRET not in text for text in (*pages, shown.out, shown.err))


def rewrite(path, change):
    with h5py.File(path, "a") as file:
        change(file)


def drop_eigenvalues(run):
    rewrite(run / "spectrum.h5", lambda file: file.__delitem__(list(file)[-1] + "/eigenvalues"))
    return "spectrum"


def text_for_eigenvalues(run):
    def change(file):
        group = file[list(file)[-1]]
        del group["eigenvalues"]
        group["eigenvalues"] = np.array([b"a", b"b"])

    rewrite(run / "spectrum.h5", change)
    return "spectrum"


def another_name_of_a_cell(run):
    rewrite(run / "spectrum.h5", lambda file: file.create_group("n1-tx"))
    return "spectrum"


def no_spectrum(run):
    rewrite(run / "spectrum.h5", lambda file: [file.__delitem__(name) for name in list(file)])
    return "spectrum"


def csv(content):
    def change(run):
        text = (run / "risk.csv").read_text()
        (run / "risk.csv").write_bytes(content(text).encode())
        return "risk"

    return change


def uneven_columns(run):
    def change(file):
        table = file["predictions"]
        name = next(iter(table))
        del table[name]
        table[name] = np.zeros(1)

    rewrite(run / "theory.h5", change)
    return "theory"


def lacking_column(run):
    rewrite(run / "theory.h5", lambda file: file["trust"].__delitem__("tripped"))
    return "theory"


MALFORMED = [
    drop_eigenvalues,
    text_for_eigenvalues,
    another_name_of_a_cell,
    no_spectrum,
    csv(lambda text: ""),
    csv(lambda text: "\0" * 100),
    csv(lambda text: text.replace("test_risk", "other")),
    csv(lambda text: text.splitlines()[0] + "\n"),
    csv(lambda text: text.replace("\n", "\nx", 2)),
    csv(lambda text: text.replace("\n8,", "\n999999999999999999999999,")),
    csv(lambda text: text.replace("\n8,", "\n-8,")),
    csv(lambda text: text.replace("\n8,", "\n9007199254740993,")),
    csv(lambda text: text + "," * 10_000 + "\n"),
    csv(lambda text: text + '"'),
    uneven_columns,
]


def record_all(run, stage):
    """Let the manifest of a stage record its files as they are."""
    for path in run.glob(f"{stage}.*"):
        if path.suffix != ".json":
            record_again(run / f"{stage}.json", path.name)
    if stage != "theory":  # theory records what it was made from
        (run / "theory.json").unlink()


@pytest.mark.parametrize("malform", MALFORMED)
def test_a_malformed_file_with_its_right_digest_is_refused_by_name(copy, malform):
    stage = malform(copy)
    record_all(copy, stage)
    with pytest.raises(CorruptInputError, match=rf"{copy}/{stage}\.(csv|h5) (is not|must)"):
        load_result(copy)


@pytest.mark.parametrize("malform", [drop_eigenvalues, lacking_column])
def test_a_malformed_run_is_left_out_and_the_others_are_reported(copied, capsys, malform):
    run, words = copied
    foreign = shutil.copytree(run, run.with_name("foreign"))
    record_all(foreign, malform(foreign))
    assert main(["compare", words[-1]]) == 0
    shown = capsys.readouterr()
    assert shown.err.count("foreign is not reported: ") == 1
    assert "1 run(s)" in shown.out
    assert main(["compare", words[-1], "foreign"]) == 3
    error = capsys.readouterr().err
    assert "Traceback" not in error
    assert "foreign" in error


def test_a_stage_computes_from_no_malformed_file(copied, capsys):
    run, words = copied
    record_all(run, drop_eigenvalues(run))
    assert main(["run", "--stage", "theory", *words]) == 3
    assert f"{run / 'spectrum.h5'} is not a file of rmtgen" in capsys.readouterr().err


FIELDS = {
    "spec": [[], 7, "text", None, {"train": "many"}, {"sizes": 3}, {"seed": -1}, {"seed": 2**70}],
    "outputs": [{"a": None}, {"a": {"size": "1", "mtime_ns": 1, "blake2b": "0" * 32}}],
    "inputs": [{"a": {"size": -1, "mtime_ns": 1, "blake2b": "0" * 32}}, {"a": 1}, []],
    "upstream": [{"extract": 3}, []],
    "details": [[], "x", None],
    "seconds": ["1", None, True, -1, 1e999],
    "provenance": [{"made": 3}, {"versions": [1]}, {"versions": {"torch": {}}}, []],
    "stage": ["risk", 3, None],
    "spec_hash": [3, None, "0"],
    "format": ["2", None, [], 99, 2.5],
}


@pytest.mark.parametrize("field", FIELDS)
def test_every_field_of_a_manifest_is_checked_by_type(copy, field, capsys):
    path = copy / "extract.json"
    sound = path.read_bytes()
    for value in FIELDS[field]:
        edit(path, **{field: value})
        with pytest.raises(RmtgenError, match=r"extract\.json (is not|has manifest format)"):
            rmtgen.load_run(copy)
        output = f"output={copy.parents[1]}"
        assert main(["verify", output]) == 3
        assert main(["ls", output]) == 0
        assert main(["compare", output]) == 3
        path.write_bytes(sound)
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, "x", 0, -3, 1.5, [1], True, 2**80])
def test_details_that_are_used_are_checked(copied, value, capsys):
    run, words = copied
    path = run / "extract.json"
    details = json.loads(path.read_text())["details"]
    edit(path, details={**details, "feature_dim": value})
    assert main(["run", "--stage", "spectrum", *words]) == (0 if value == 2**80 else 3)
    edit(path, details={**details, "train_indices": value})
    with pytest.raises(CorruptInputError, match=r"extract\.json must list train_indices"):
        _ = rmtgen.load_run(run).indices
    assert "Traceback" not in capsys.readouterr().err


def test_fields_of_a_foreign_run_are_text_in_the_page(copied, capsys):
    run, words = copied
    script = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    for path in run.glob("*.json"):
        if path.name.endswith("-metadata.json"):
            continue
        content = json.loads(path.read_text())
        provenance = {**content["provenance"], "made": script, script: script}
        edit(path, provenance=provenance, details={**content["details"], script: script})
    assert main(["compare", words[-1]]) == 0
    (page,) = run.parents[1].glob("reports/compare-*/report.html")
    assert "<script>alert" not in page.read_text()
    assert "<img src=x" not in page.read_text()
