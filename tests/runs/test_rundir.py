"""Run directories and manifests: what is done stays done, what changed is refused, what another run
made is taken over."""

import dataclasses
import json
import multiprocessing
import os
import time
from pathlib import Path

import pytest

from rmtgen.errors import (
    BusyError,
    CorruptInputError,
    MissingInputError,
    StaleInputError,
    StorageError,
)
from rmtgen.runs.config import Config
from rmtgen.runs.inputs import sources
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.runs.rundir import RunDir
from rmtgen.store import durable


def finish(run, stage, content=b"result", inputs=None):
    """Let a stage have written one file."""
    run.path.mkdir(parents=True, exist_ok=True)
    output = run.path / f"{stage}.bin"
    output.write_bytes(content)
    records = {role: FileRecord.of(path) for role, path in (inputs or {}).items()}
    spec_hash = run.config.stage_hash(stage)
    return run.finish(
        Manifest(stage, run.config.stage_fields(stage), spec_hash, records, {}, {}, {}, 0.1),
        [output],
    )


@pytest.fixture
def run(tmp_path):
    return RunDir(Config(output=str(tmp_path / "data")))


def test_a_stage_is_done_when_its_manifest_and_outputs_are_whole(run):
    assert run.done("extract") is None
    written = finish(run, "extract")
    assert run.done("extract") == written
    assert run.require("extract").outputs["extract.bin"].size == 6


def test_require_says_which_target_makes_a_missing_stage(run):
    with pytest.raises(
        MissingInputError, match=r"stage extract is not done for resnet50-.*Run `make extract`"
    ):
        run.require("extract")


def test_a_changed_output_is_refused_by_name_and_a_deleted_one_is_made_anew(run):
    finish(run, "extract")
    output = run.path / "extract.bin"
    output.write_bytes(b"resulT")
    os.utime(output, ns=(1, 1))
    with pytest.raises(
        CorruptInputError,
        match=r"extract\.bin is not what stage extract wrote: expected 6 bytes with BLAKE2b",
    ):
        run.done("extract")
    output.unlink()
    assert run.done("extract") is None


def test_a_copied_result_is_still_the_same_result(run):
    finish(run, "extract")
    os.utime(run.path / "extract.bin", ns=(1, 1))  # as after a copy that does not keep times
    assert run.done("extract") is not None


@pytest.fixture
def sourced(tmp_path):
    """A run on a folder of images with a weights file of its own."""
    for split in ("train", "test"):
        (tmp_path / "images" / split / "a").mkdir(parents=True)
        (tmp_path / "images" / split / "a" / "1.png").write_bytes(b"1")
    (tmp_path / "w.pth").write_bytes(b"weights")
    run = RunDir(
        Config(
            output=str(tmp_path / "data"),
            dataset=f"folder:{tmp_path / 'images'}",
            weights=str(tmp_path / "w.pth"),
        )
    )
    finish(run, "extract", inputs=sources(run.config))
    assert run.done("extract")
    return run


def test_other_weights_under_the_same_name_are_refused(sourced, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"others!")
    os.utime(tmp_path / "w.pth", ns=(1, 1))
    with pytest.raises(
        StaleInputError, match=r"w\.pth \(weights\) is not what .*extract\.json was made from"
    ):
        sourced.done("extract")


def test_an_added_image_is_refused_but_a_hidden_file_is_nothing(sourced, tmp_path):
    (tmp_path / "images" / ".DS_Store").write_bytes(b"2")
    assert sourced.done("extract")
    (tmp_path / "images" / "train" / "a" / "2.png").write_bytes(b"2")
    with pytest.raises(StaleInputError, match="images .dataset images. is not what"):
        sourced.done("extract")


def test_a_dangling_link_among_the_images_is_only_an_entry(sourced, tmp_path):
    (tmp_path / "images" / "train" / "a" / "2.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StaleInputError, match="is not what"):
        sourced.done("extract")


def test_sources_that_were_copied_or_are_gone_contradict_nothing(sourced, tmp_path):
    os.utime(tmp_path / "w.pth", ns=(1, 1))  # as in another virtual environment
    assert sourced.done("extract")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert sourced.done("extract")


def test_weights_that_would_now_be_found_first_are_refused(tmp_path):
    """A result of packaged or hub weights is not passed off as one of the file that outranks them
    today."""
    run = RunDir(Config(output=str(tmp_path / "data"), checkpoints=str(tmp_path / "checkpoints")))
    finish(run, "extract", inputs=sources(run.config))
    assert run.done("extract")
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "resnet50.pth").write_bytes(b"weights")
    with pytest.raises(StaleInputError, match=r"resnet50\.pth \(weights\) is not what"):
        run.done("extract")


def test_results_made_from_other_upstream_results_are_refused_not_overwritten(run):
    finish(run, "extract", b"one")
    finish(run, "gram")
    assert run.done("gram")
    finish(run, "extract", b"two")
    with pytest.raises(StaleInputError, match=r"gram\.json was made from other results of extract"):
        run.done("gram")


def test_a_manifest_of_other_settings_under_the_same_name_is_not_overwritten(run):
    written = finish(run, "extract")
    dataclasses.replace(written, spec_hash="0" * 32).write(run.path)
    with pytest.raises(
        StaleInputError, match=r"made for other settings \(hash 00000000, expected .*move"
    ):
        run.done("extract")


def test_a_manifest_of_another_version_is_refused(run):
    finish(run, "extract")
    path = run.path / "extract.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "format": 99}))
    with pytest.raises(StaleInputError, match="manifest format 99; this version reads 1"):
        run.done("extract")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"format": 1}', '{"format": 1, "inputs": 3, "outputs": {}}']
)
def test_a_damaged_manifest_is_refused(run, text):
    finish(run, "extract")
    (run.path / "extract.json").write_text(text)
    with pytest.raises(CorruptInputError, match=r"extract\.json is not a manifest .*Delete it"):
        run.done("extract")


def _hold(path, ready, release):
    with RunDir(Config(output=path)).lock():
        if os.fork() == 0:  # a worker, which outlives its parent by some seconds
            time.sleep(10)
            os._exit(0)
        ready.set()
        release.wait(30)


def test_a_held_directory_is_refused_with_the_pid_and_freed_by_the_holders_death(run, tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "data"), ready, release))
    holder.start()
    assert ready.wait(30)
    with (
        pytest.raises(BusyError, match=rf"held by another process \(pid {holder.pid}\)"),
        run.lock(),
    ):
        pass
    holder.kill()
    holder.join()
    with run.lock():
        assert (run.path / ".lock").read_text() == str(os.getpid())


def test_a_place_that_cannot_be_written_is_a_storage_error(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match="cannot write .*choose another place with output=DIR"):
        RunDir(Config(output=str(tmp_path / "file"))).lock().__enter__()


def test_another_run_with_the_same_features_lends_them(run):
    donor = finish(run, "extract", b"features")
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    assert other.path != run.path
    adopted = other.adopt("extract")
    assert (other.path / "extract.bin").samefile(run.path / "extract.bin")
    assert other.done("extract") == adopted
    assert adopted.provenance["taken_from"] == run.path.name
    assert adopted.outputs == donor.outputs


def test_what_a_borrower_appends_does_not_reach_the_lender(run):
    finish(run, "extract")
    journal = run.path / "journal.jsonl"
    journal.write_text("one\n")
    manifest = Manifest.read(run.path, "extract")
    run.finish(manifest, [run.path / "extract.bin", journal])
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    other.adopt("extract")
    durable.append_line(other.path / "journal.jsonl", "two")
    assert journal.read_text() == "one\n"
    assert run.done("extract")


def test_a_run_with_other_features_or_a_broken_one_lends_nothing(run):
    finish(run, "extract", b"features")
    assert RunDir(dataclasses.replace(run.config, img_size=64)).adopt("extract") is None
    (run.path / "extract.bin").write_bytes(b"damaged!")
    os.utime(run.path / "extract.bin", ns=(1, 1))
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    assert other.adopt("extract") is None
    (run.path / "extract.json").write_text("{")
    assert other.adopt("extract") is None
    assert not Path(other.path).exists()


def test_a_gram_matrix_is_taken_over_only_with_its_own_features(run):
    finish(run, "extract", b"features")
    finish(run, "gram")
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    finish(other, "extract", b"features of another machine")
    assert other.adopt("gram") is None
    finish(other, "extract", b"features")
    assert other.adopt("gram") is not None


def test_bases_tell_fields_upstream_and_sources_apart(run):
    finish(run, "extract", b"one")
    first = run.basis("gram")
    assert run.basis("gram", {"weights": "x"}) != first
    assert RunDir(dataclasses.replace(run.config, tile=512)).basis("gram") != first
    finish(run, "extract", b"two")
    assert run.basis("gram") != first
