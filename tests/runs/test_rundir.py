"""Run directories and manifests: what is done stays done, what changed is refused, what another run
made is reused."""

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
from rmtgen.runs.graph import STAGES
from rmtgen.runs.inputs import local_inputs
from rmtgen.runs.manifest import FileRecord, Manifest
from rmtgen.runs.reportdir import ReportDir
from rmtgen.runs.rundir import RunDir, State
from rmtgen.store import durable


def finish(run, stage, content=b"result", inputs=None, dim=20_000):
    """Let a stage have written one file."""
    run.path.mkdir(parents=True, exist_ok=True)
    output = run.path / f"{stage}.bin"
    output.write_bytes(content)
    records = {role: FileRecord.of(path) for role, path in (inputs or {}).items()}
    fields, spec_hash = run.config.stage_fields(stage), run.config.stage_hash(stage)
    details = {"feature_dim": dim} if stage == "extract" else {}
    return run.finish(Manifest(stage, fields, spec_hash, records, {}, {}, details, 0.1), [output])


@pytest.fixture
def run(tmp_path):
    return RunDir(Config(output=str(tmp_path / "data")))


def test_a_stage_is_done_when_its_manifest_and_outputs_are_whole(run):
    assert run.done("extract") is None
    written = finish(run, "extract")
    assert run.done("extract") == written
    assert run.require("extract").outputs["extract.bin"].size == 6


def test_require_names_the_command_that_makes_a_missing_stage(run):
    with pytest.raises(
        MissingInputError,
        match=r"extract is not done for resnet50-.*Run `rmtgen run --stage extract` with the same",
    ):
        run.require("extract")


def test_a_changed_output_is_refused_by_name_and_a_deleted_one_is_made_anew(run):
    finish(run, "extract")
    output = run.path / "extract.bin"
    output.write_bytes(b"resulT")
    os.utime(output, ns=(1, 1))
    with pytest.raises(
        CorruptInputError,
        match=r"extract\.bin is not what was written: expected 6 bytes with BLAKE2b",
    ):
        run.done("extract")
    output.unlink()
    assert run.done("extract") is None


def test_a_copied_result_is_still_the_same_result(run):
    finish(run, "extract")
    os.utime(run.path / "extract.bin", ns=(1, 1))  # as after a copy that does not keep times
    assert run.done("extract") is not None


@pytest.fixture
def on_files(tmp_path):
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
    finish(run, "extract", inputs=local_inputs(run.config))
    assert run.done("extract")
    return run


def test_other_weights_under_the_same_name_are_refused(on_files, tmp_path):
    (tmp_path / "w.pth").write_bytes(b"others!")
    os.utime(tmp_path / "w.pth", ns=(1, 1))
    with pytest.raises(
        StaleInputError, match=r"w\.pth \(weights\) is not what .*extract\.json was made from"
    ):
        on_files.done("extract")


def test_an_added_image_is_refused_but_a_hidden_file_is_nothing(on_files, tmp_path):
    (tmp_path / "images" / ".DS_Store").write_bytes(b"2")
    assert on_files.done("extract")
    (tmp_path / "images" / "train" / "a" / "2.png").write_bytes(b"2")
    with pytest.raises(StaleInputError, match="images .dataset images. is not what"):
        on_files.done("extract")


def test_a_dangling_link_among_the_images_is_only_an_entry(on_files, tmp_path):
    (tmp_path / "images" / "train" / "a" / "2.png").symlink_to(tmp_path / "nowhere")
    with pytest.raises(StaleInputError, match="is not what"):
        on_files.done("extract")


def test_inputs_that_were_copied_or_are_gone_contradict_nothing(on_files, tmp_path):
    os.utime(tmp_path / "w.pth", ns=(1, 1))  # as in another virtual environment
    assert on_files.done("extract")
    (tmp_path / "images").rename(tmp_path / "elsewhere")
    assert on_files.done("extract")


def test_weights_that_would_now_be_found_first_are_refused(tmp_path):
    """A result of packaged or hub weights is not passed off as one of the file that outranks them
    today."""
    run = RunDir(Config(output=str(tmp_path / "data"), checkpoints=str(tmp_path / "checkpoints")))
    finish(run, "extract", inputs=local_inputs(run.config))
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
    with pytest.raises(
        StaleInputError,
        match=r"gram\.json must be made from the results that are there now: got other.* extract",
    ):
        run.done("gram")


def test_a_manifest_of_other_settings_under_the_same_name_is_not_overwritten(run):
    written = finish(run, "extract")
    dataclasses.replace(written, spec_hash="0" * 32).write(run.path)
    with pytest.raises(
        StaleInputError,
        match=r"must be of these settings: expected hash \w{8}, got 00000000\. .* move",
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
            ready.set()  # it has let go of the lock by now
            time.sleep(10)
            os._exit(0)
        release.wait(600)


def test_a_held_directory_is_refused_with_the_pid_and_freed_by_the_holders_death(run, tmp_path):
    context = multiprocessing.get_context("spawn")
    ready, release = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(str(tmp_path / "data"), ready, release))
    holder.start()
    assert ready.wait(600)
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


def test_another_run_with_the_same_features_shares_them(run):
    donor = finish(run, "extract", b"features")
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    assert other.path != run.path
    reused = other.reuse("extract")
    assert (other.path / "extract.bin").samefile(run.path / "extract.bin")
    assert other.done("extract") == reused
    assert reused.provenance["taken_from"] == run.path.name
    assert reused.outputs == donor.outputs


def test_what_a_borrower_appends_does_not_reach_the_lender(run):
    finish(run, "extract")
    journal = run.path / "journal.jsonl"
    journal.write_text("one\n")
    manifest = Manifest.read(run.path, "extract")
    run.finish(manifest, [run.path / "extract.bin", journal])
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    other.reuse("extract")
    durable.append_line(other.path / "journal.jsonl", "two")
    assert journal.read_text() == "one\n"
    assert run.done("extract")


def test_a_run_with_other_features_or_a_broken_one_lends_nothing(run):
    finish(run, "extract", b"features")
    assert RunDir(dataclasses.replace(run.config, img_size=64)).reuse("extract") is None
    (run.path / "extract.bin").write_bytes(b"damaged!")
    os.utime(run.path / "extract.bin", ns=(1, 1))
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    assert other.reuse("extract") is None
    (run.path / "extract.json").write_text("{")
    assert other.reuse("extract") is None
    assert not Path(other.path).exists()


def test_a_gram_matrix_is_taken_over_only_with_its_own_features(run):
    finish(run, "extract", b"features")
    finish(run, "gram")
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    finish(other, "extract", b"features of another machine")
    assert other.reuse("gram") is None
    finish(other, "extract", b"features")
    assert other.reuse("gram") is not None


def test_a_fingerprint_covers_fields_upstream_results_and_inputs(run):
    finish(run, "extract", b"one")
    first = run.fingerprint("gram")
    assert run.fingerprint("gram", {"weights": "x"}) != first
    assert RunDir(dataclasses.replace(run.config, tile=512)).fingerprint("gram") != first
    finish(run, "extract", b"two")
    assert run.fingerprint("gram") != first


def test_a_result_counts_as_absent_until_every_file_is_there(run):
    written = finish(run, "extract")
    assert run.state("extract") == State(written)
    (run.path / "extract.bin").unlink()
    assert run.state("extract") == State()
    (run.path / "extract.bin").write_bytes(b"result")
    assert run.state("extract") == State(written)


def test_a_problem_is_kept_until_it_is_raised(run):
    finish(run, "extract")
    (run.path / "extract.bin").write_bytes(b"damaged")
    state = run.state("extract")
    assert state.manifest is None
    with pytest.raises(CorruptInputError) as raised:
        run.done("extract")
    assert str(raised.value) == str(state.problem)


@pytest.mark.parametrize(("dim", "needed"), [(10_000, True), (9_999, False)])
def test_the_gram_matrix_is_needed_where_it_is_the_smaller_problem(run, dim, needed):
    assert run.needs("gram")  # not known yet
    finish(run, "extract", dim=dim)
    assert run.feature_dim == dim
    assert run.needs("gram") is needed


def test_what_is_needed_is_required_and_nothing_else(run):
    with pytest.raises(MissingInputError, match="stage extract is not done"):
        run.require_upstream("spectrum")
    finish(run, "extract", dim=20_000)
    with pytest.raises(MissingInputError, match="stage gram is not done"):
        run.require_upstream("spectrum")
    finish(run, "extract", dim=20)
    run.require_upstream("spectrum")


def test_the_dimension_of_a_sketch_is_that_of_its_rows(tmp_path):
    run = RunDir(Config(kernel="entk", projection=64, output=str(tmp_path / "data")))
    finish(run, "extract", dim=2048)
    assert run.feature_dim == 64


def test_a_gram_matrix_that_nothing_reads_may_go(run):
    """As of a run of version 0.1.0, which made it always; its readers recorded it."""
    finish(run, "extract", dim=20)
    finish(run, "gram")
    written = finish(run, "spectrum")
    assert set(written.upstream) == {"extract", "gram"}
    assert run.done("spectrum").upstream == written.upstream
    for name in ("gram.json", "gram.bin"):
        (run.path / name).unlink()
    assert run.done("spectrum").upstream == written.upstream
    run.require_upstream("spectrum")
    other = RunDir(dataclasses.replace(run.config, ridges=(1.0,)))
    assert other.reuse("extract")
    assert other.reuse("spectrum")
    assert other.done("spectrum")


def test_a_needed_gram_matrix_that_has_gone_is_asked_for(run):
    finish(run, "extract")
    finish(run, "gram")
    finish(run, "spectrum")
    (run.path / "gram.json").unlink()
    with pytest.raises(MissingInputError, match="stage gram is not done"):
        run.require_upstream("spectrum")


def test_an_unreadable_upstream_manifest_is_refused(run):
    finish(run, "extract")
    finish(run, "gram")
    (run.path / "extract.json").write_text("{")
    with pytest.raises(CorruptInputError, match=r"extract\.json is not a manifest"):
        run.done("gram")


def test_a_run_does_not_reuse_its_own_result(run):
    finish(run, "extract")
    assert run.reuse("extract") is None


def test_a_report_is_made_again_for_other_results_and_never_refused(run, tmp_path):
    for stage in ("extract", "gram", "spectrum", "risk", "theory"):
        finish(run, stage)
    report = ReportDir([run], tmp_path / "data" / "reports" / "r", "title")
    report.path.mkdir(parents=True)
    files = [report.path / name for name in STAGES["report"].files if not name.endswith("/")]
    for file in files:
        file.write_text("page")
    page = files[0]
    spec, spec_hash = report.spec("report"), report.spec_hash("report")
    manifest = Manifest("report", spec, spec_hash, {}, {}, {}, {}, 0.1)
    report.finish(manifest, files[1:])
    assert report.done("report") is None  # as of a version that left fewer files
    written = report.finish(manifest, files)
    assert report.done("report") == written
    page.write_text("damaged")
    assert report.done("report") is None
    page.write_text("page")
    assert report.done("report") == written
    assert ReportDir([run], report.path, "another title").done("report") is None
    assert ReportDir([run], report.path, "title", {"b": "left out"}).done("report") is None
    finish(run, "risk", b"another result")
    assert report.done("report") is None


def test_a_report_asks_for_what_its_runs_lack_unless_they_are_only_directories(run, tmp_path):
    finish(run, "extract")
    path = tmp_path / "data" / "reports" / "r"
    with pytest.raises(MissingInputError, match="stage spectrum is not done"):
        ReportDir([run], path, "title").require_upstream("report")
    ReportDir([run.path], path, "title").require_upstream("report")
    assert set(ReportDir([run.path], path, "title").upstream("report").values()) == {"missing"}
