"""Damage that keeps size and time: no file is used, and every file is checked, by its digest."""

import json
import shutil

import pytest
from damage import edit, silently

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import CorruptInputError, RmtgenError
from rmtgen.runs.graph import RUN_STAGES
from rmtgen.runs.manifest import Manifest

WAYS = {
    "first bit": lambda data: bytes([data[0] ^ 1]) + data[1:],
    "a bit early": lambda data: _flipped(data, len(data) // 7),
    "a bit in the middle": lambda data: _flipped(data, len(data) // 2),
    "last bit": lambda data: data[:-1] + bytes([data[-1] ^ 1]),
    "zeros": lambda data: data[: len(data) // 3] + bytes(len(data) - len(data) // 3),
    "two halves exchanged": lambda data: data[len(data) // 2 :] + data[: len(data) // 2],
}


def _flipped(data, at):
    changed = bytearray(data)
    changed[at] ^= 4
    return bytes(changed)


def read_everything(folder):
    run = rmtgen.load_run(folder)
    run.gram.read()
    run.gram.verify()
    return run.risk, run.curve, run.theory, run.spectrum, run.features, run.labels, run.indices


UNREAD = ("theory.csv", "-metadata.json")
"""Endings of files that only other programs read."""


@pytest.mark.parametrize("way", WAYS)
def test_every_byte_of_a_run_is_covered(copy, way, capsys):
    run = rmtgen.load_run(copy)
    listed = [name for manifest in run.stages.values() for name in manifest.outputs]
    assert {str(path.relative_to(copy)) for path in copy.rglob("*") if path.is_file()} == {
        *listed,
        *(f"{stage}.json" for stage in RUN_STAGES),
        ".lock",
    }
    for name in [*listed, *(f"{stage}.json" for stage in RUN_STAGES)]:
        path = copy / name
        before = path.read_bytes()
        silently(path, WAYS[way])
        assert main(["verify", f"output={copy.parents[1]}"]) == 3
        error = capsys.readouterr().err
        assert str(path) in error
        assert "Traceback" not in error
        if not name.endswith(UNREAD):
            with pytest.raises(RmtgenError, match=path.name):
                read_everything(copy)
        path.write_bytes(before)
    read_everything(copy)


READ_BY = {
    "spectrum": ("features.h5", "gram.h5", "gram/journal.jsonl", "gram/tile-00000032-00000000.h5"),
    "risk": ("features/journal.jsonl", "gram/tile-00000096-00000032.h5", "extract.json"),
    "theory": ("risk.csv", "curve.csv", "spectrum.h5", "spectrum.json", "risk.json", "gram.json"),
    "gram": ("features/train-000001.h5", "features/test-000000.h5"),
}


@pytest.mark.parametrize("stage", READ_BY)
def test_no_stage_computes_from_a_damaged_file(copied, stage, capsys):
    run, words = copied
    outputs = Manifest.read(run, stage).outputs
    for name in (f"{stage}.json", *outputs):
        (run / name).unlink()
    for name in READ_BY[stage]:
        before = (run / name).read_bytes()
        silently(run / name, WAYS["a bit in the middle"])
        assert main(["run", "--stage", stage, *words]) == 3
        assert str(run / name) in capsys.readouterr().err
        assert not (run / f"{stage}.json").exists()
        (run / name).write_bytes(before)


@pytest.mark.parametrize(
    "field", ["seconds", "provenance", "details", "inputs", "upstream", "spec"]
)
def test_a_changed_field_of_a_manifest_is_named(copy, field):
    path = copy / "theory.json" if field == "upstream" else copy / "extract.json"
    sound = path.read_bytes()
    content = json.loads(sound)
    other = 7.5 if field == "seconds" else {**content[field], "extra": "x"}
    edit(path, **{field: other})
    changed = path.read_bytes()
    digests = sound[sound.index(b' "digests"') :]  # those of the sound one
    path.write_bytes(changed[: changed.index(b' "digests"')] + digests)
    with pytest.raises(CorruptInputError, match=f"changed since it was written: {field}\\)"):
        rmtgen.load_run(copy)


def test_a_manifest_without_its_digests_is_refused(copy):
    path = copy / "risk.json"
    text = path.read_text()
    path.write_text(text[: text.index(',\n "digests"')] + "\n}\n")
    with pytest.raises(CorruptInputError, match="risk.json is not a manifest .*lacks its digests"):
        rmtgen.load_run(copy)


def test_a_result_made_from_others_is_found_by_verify(copy, other, capsys):
    """Sound files of another run of the same settings, whose features differ in a bit."""
    edit(copy / "theory.json", upstream={"extract": "0" * 32})
    assert main(["verify", f"output={copy.parents[1]}"]) == 3
    assert "theory.json must be made from the results" in capsys.readouterr().err


@pytest.mark.parametrize("stage", ["spectrum", "risk", "theory"])
def test_parts_that_a_kill_left_are_swept(copied, stage, capsys):
    run, words = copied
    parts = run / f"{stage}.parts"
    parts.mkdir()
    (parts / "journal.jsonl").write_text('{"basis": "x"}\n')
    assert main(["run", "--stage", "theory", *words]) == 0
    assert capsys.readouterr().out.count(" cached") == len(RUN_STAGES)
    assert not parts.exists()


def test_of_parts_that_are_a_link_only_the_link_is_swept(copied, tmp_path):
    run, words = copied
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("mine")
    (run / "theory.parts").symlink_to(tmp_path / "mine")
    assert main(["run", "--stage", "theory", *words]) == 0
    assert not (run / "theory.parts").is_symlink()
    (run / "theory.json").unlink()
    (run / "theory.parts").symlink_to(tmp_path / "mine")
    assert main(["run", "--stage", "theory", *words]) == 3  # nothing is written there
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_clean_removes_a_run_of_which_only_parts_are_left(copied):
    run, words = copied
    shutil.rmtree(run / "gram")
    for path in run.iterdir():
        if path.is_file() and path.name != ".lock":
            path.unlink()
    (run / "theory.parts").mkdir()
    (run / "theory.parts" / "x.h5").write_bytes(b"x")
    assert main(["clean", words[-1]]) == 0
    assert not run.exists()
