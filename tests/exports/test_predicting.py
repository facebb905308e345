"""`rmtgen predict`: files, folders and archives, damaged images, streams, and what is refused."""

import csv
import io
import json
import subprocess
import sys
import tarfile

import numpy as np
import pytest

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import MissingInputError, UsageError
from rmtgen.exports.pictures import gather
from rmtgen.exports.predictions import Prediction, as_csv, heading, predictions


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    """Six digits as files, and their images."""
    folder = tmp_path_factory.mktemp("digits")
    images = [rmtgen.load_dataset("mnist5k", size=60)[place] for place in range(6)]
    for place, image in enumerate(images):
        image.save(folder / f"{place}.png")
    return folder, images


def test_a_row_an_image_with_class_and_score(exported, digits, predicted):
    folder, images = digits
    code, rows, _ = predicted(exported, folder)
    probe = rmtgen.load_probe(exported)
    scores = probe.scores(images).numpy()
    assert code == 0 and [row["path"] for row in rows] == [f"{folder}/{k}.png" for k in range(6)]
    assert [row["class"] for row in rows] == probe.predict(images)
    found = [np.float32(row["score"]) for row in rows]
    assert found == pytest.approx(scores.max(axis=1).tolist(), rel=1e-6)
    assert all(row["problem"] == "" for row in rows) and len(rows[0]) == 4


def test_batches_change_nothing_but_rounding(exported, digits, predicted):
    whole, single = (predicted(exported, digits[0], f"batch_size={n}")[1] for n in (64, 1))
    for one, other in zip(whole, single, strict=True):
        assert one["class"] == other["class"]
        assert float(one["score"]) == pytest.approx(float(other["score"]), rel=1e-5)


def test_files_folders_and_archives_come_in_their_order(exported, digits, tmp_path, predicted):
    folder, _ = digits
    with tarfile.open(tmp_path / "digits.tar", "w") as archive:
        archive.add(folder / "4.png", "deep/4.png")
        archive.add(folder / "1.png", "1.png")
        archive.add(__file__, "notes.txt")
    code, rows, errors = predicted(exported, folder / "3.png", tmp_path / "digits.tar", folder)
    shown = [row["path"].rpartition("/")[2] for row in rows]
    assert code == 0 and shown == ["3.png", "digits.tar:1.png", "4.png"] + [
        f"{k}.png" for k in range(6)
    ]
    assert "1 file passed over: 1 × .txt" in errors
    assert rows[0]["class"] == rows[6]["class"] and rows[2]["class"] == rows[7]["class"]


def test_damaged_images_have_a_row_and_a_name_and_the_rest_goes_on(
    exported, digits, tmp_path, predicted, capsys
):
    (tmp_path / "a.png").write_bytes((digits[0] / "0.png").read_bytes()[:60])
    (tmp_path / "b.png").write_bytes((digits[0] / "0.png").read_bytes())
    (tmp_path / "c.txt").write_text("no picture")
    code, rows, errors = predicted(exported, tmp_path, tmp_path / "c.txt", "--scores")
    assert code == 3 and len(rows) == 3
    for row, name in ((rows[0], "a.png"), (rows[2], "c.txt")):
        assert row["class"] == row["score"] == row["score of 0"] == ""
        assert f"{name} cannot be decoded" in row["problem"] and row["problem"] in errors
    assert rows[1]["problem"] == "" and rows[1]["class"]
    assert "2 of 3 images could not be read" in errors
    words = ["predict", str(exported), str(tmp_path), "--to", str(tmp_path / "out.csv")]
    assert main(words) == 3
    assert len((tmp_path / "out.csv").read_text().splitlines()) == 3
    assert capsys.readouterr().out == f"{tmp_path / 'out.csv'}: 2 images\n"


def test_more_damaged_images_than_stderr_names_are_all_in_the_table(exported, tmp_path, predicted):
    for place in range(14):
        (tmp_path / f"{place:02d}.png").write_bytes(b"none")
    code, rows, errors = predicted(exported, tmp_path)
    assert code == 3 and len(rows) == 14 and all(row["problem"] for row in rows)
    assert errors.count("cannot be decoded") == 10 and "14 of 14 images" in errors


def test_scores_have_a_column_a_class(exported, digits, predicted):
    _, rows, _ = predicted(exported, digits[0], "scores=true")
    for row in rows:
        scores = {name: float(row[f"score of {name}"]) for name in map(str, range(10))}
        assert max(scores, key=scores.get) == row["class"]
        assert float(row["score"]) == max(scores.values())


def test_json_is_one_line_with_everything(exported, digits, capsys):
    assert main(["predict", str(exported), str(digits[0]), "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    (run,) = json.loads(line)["runs"]
    assert run["stage"] == "predict" and run["details"]["images"] == 6
    first = run["details"]["predictions"][0]
    assert len(first["scores"]) == 10 and first["score"] == max(first["scores"])
    assert first["problem"] is None and first["path"].endswith("0.png")


def test_a_reader_that_leaves_ends_the_work(exported, digits):
    words = ["predict", str(exported), *[str(digits[0])] * 400, "batch_size=1"]
    program = "import sys, rmtgen.cli.main; sys.exit(rmtgen.cli.main.main(sys.argv[1:]))"
    with subprocess.Popen(
        [sys.executable, "-c", program, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout.readline().startswith(b"path,class")
        process.stdout.close()
        errors = process.stderr.read()
        assert process.wait() == 3
    assert errors == b""


def test_an_export_is_found_by_name_and_by_its_last_letters(
    exported, digits, tmp_path, monkeypatch, predicted
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "exports").mkdir(parents=True)
    (tmp_path / "data" / "exports" / "net-digits-1234abcd").symlink_to(exported)
    for name in ("net-digits-1234abcd", "1234abcd"):
        code, rows, _ = predicted(name, digits[0])
        assert code == 0 and len(rows) == 6
    code, _, errors = predicted("1234abce", digits[0])
    assert code == 3 and "Known: net-digits-1234abcd" in errors


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "expected the folder of an export and then images"),
        (["{export}"], 2, "expected the folder of an export and then images"),
        (["{export}", "{tmp}/none"], 3, "none does not exist"),
        (["{export}", "{tmp}"], 3, "must hold images, got none"),
        (["{tmp}", "{digits}"], 3, "the folder has no rmtgen.json"),
        (["{tmp}/none", "{digits}"], 3, "there is no such folder"),
        (["{export}", "{digits}", "batch_size=0"], 2, "batch_size: expected a whole number"),
        (["{export}", "{digits}", "device=tpu"], 2, "device must be"),
        (["{export}", "{digits}", "colour=red"], 2, "NAME=VALUE of to, scores, batch_size"),
        (["{export}", "{digits}", "--to", "{tmp}/no/x.csv"], 3, "cannot write"),
        (["{export}", "{digits}", "--scores", "scores=false"], 2, "scores is given twice"),
    ],
)
def test_what_cannot_be_predicted_is_refused(
    words, code, message, exported, digits, tmp_path, capsys
):
    places = {"export": exported, "tmp": tmp_path, "digits": digits[0]}
    assert main(["predict", *(word.format(**places) for word in words)]) == code
    streams = capsys.readouterr()
    assert message in streams.err and streams.out == ""
    assert list(tmp_path.iterdir()) == []


def test_a_compressed_archive_and_no_places_are_refused(tmp_path):
    (tmp_path / "x.tar").write_bytes(b"\x1f\x8b" + bytes(600))
    with pytest.raises(UsageError, match="uncompressed .tar, got .*x.tar .gzip."):
        gather([tmp_path / "x.tar"])
    with pytest.raises(MissingInputError, match="no images are named"):
        gather([])


def test_scores_that_are_not_finite_are_named(exported, digits):
    probe = rmtgen.load_probe(exported)
    next(probe.model.parameters()).data.fill_(float("nan"))
    (rows,) = predictions(probe, gather([digits[0] / "0.png"]))
    assert rows[0].label is None and "scores that are NaN or infinite" in rows[0].problem


def test_names_of_any_kind_are_one_cell():
    row = Prediction('a,"b"\nc.png', "ash, white", np.float32([0.25, -1e-9]))
    text = heading(["ash, white", "b"], scores=True) + as_csv([row], classes=2)
    (found,) = csv.DictReader(io.StringIO(text))
    assert found["path"] == row.path and found["class"] == "ash, white"
    assert found["score"] == "0.25" and float(found["score of b"]) == pytest.approx(-1e-9)
