"""`rmtgen export` and `export_probe`: the ridge, the places, kills, and what is refused."""

import dataclasses
import json
import os
import shutil
import signal

import numpy as np
import pytest
from digit_runs import made

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import (
    CorruptInputError,
    MissingInputError,
    NumericalError,
    StaleInputError,
    UsageError,
)
from rmtgen.exports import writing
from rmtgen.exports.quality import quality_of
from rmtgen.exports.writing import export_probe


def output_of(run):
    """The folder OUTPUT of a run."""
    return run.parent.parent


def test_the_ridge_is_that_of_the_smallest_leave_one_out_risk(ranked, exported):
    probe, score = rmtgen.load_probe(exported), rmtgen.load_run(ranked).score
    assert probe.quality["ridge"] == score.best["ridge"] and probe.quality["smallest"]
    assert probe.quality["loo"] == score.path["loo"].min()
    assert probe.quality["loo_low"] == score.best["loo_low"]
    assert probe.quality["accuracy"] == 1 - score.figures["error"]
    assert probe.quality["accuracy_high"] == 1 - score.figures["error_low"]
    n, rows = score.n, probe.quality["forecast"]
    assert [row["n"] for row in rows] == [2 * n, 4 * n, 10 * n]
    later = score.outlook.set_index("n").loc[10 * n]
    assert rows[-1]["accuracy_low"] == pytest.approx(1 - later["error_high"])
    assert rows[-1]["risk"] == later["predicted_risk"]


def test_another_ridge_of_the_run_may_be_named(ranked, tmp_path, capsys):
    words = ["export", str(ranked), "--to", str(tmp_path / "one"), "ridge=10"]
    assert main(words) == 0
    quality, score = rmtgen.load_probe(tmp_path / "one").quality, rmtgen.load_run(ranked).score
    last = score.path.iloc[-1]
    assert quality["relative_ridge"] == pytest.approx(10) and not quality["smallest"]
    assert quality["ridge"] == last["ridge"] and np.isnan(quality["accuracy_low"])
    assert quality["accuracy"] == pytest.approx(1 - last["loo_error"], nan_ok=True)
    assert "chosen by hand" in (tmp_path / "one" / "README.md").read_text()
    assert main([*words[:-1], "ridge=3", "overwrite=1"]) == 2
    assert "one of those of the run, relative to tr K/N: got 3, expected" in capsys.readouterr().err
    assert main([*words[:-1], "ridge=much"]) == 2
    assert "ridge: expected a number such as 1e-3, got 'much'" in capsys.readouterr().err


def test_the_quality_of_a_whole_run_is_that_of_its_theory(wide, tmp_path):
    quality = rmtgen.load_probe(export_probe(wide, tmp_path / "probe")).quality
    run = rmtgen.load_run(wide)
    row = run.risk.query("n == 80").sort_values("loo").iloc[0]
    fits = run.theory["predictions"].query("n == 80 and trial == 0")
    (error,) = fits[np.isclose(fits["ridge"], row["ridge"])]["predicted_error"]
    assert quality["accuracy"] == 1 - error
    assert quality["accuracy_low"] < quality["accuracy"] < quality["accuracy_high"]
    assert quality["test_risk"] == row["test_risk"] and quality["tests"] == 200
    assert [one["n"] for one in quality["forecast"]] == [160, 320, 640, 1280]
    doubts = run.theory["trust"].query("tripped")["message"]
    assert quality["doubts"] == list(doubts)


def test_a_command_names_what_it_wrote_and_what_to_type_next(ranked, tmp_path, capsys):
    output = f"output={output_of(ranked)}"
    assert main(["export", ranked.name[-8:], output, "--to", str(tmp_path / "one")]) == 0
    shown = capsys.readouterr().out
    assert f"export   {ranked.name}" in shown and "10 classes, accuracy" in shown
    assert f"predict {tmp_path / 'one'} IMAGES" in shown
    assert main(["export", ranked.name, output, "--json", "--to", str(tmp_path / "two")]) == 0
    (run,) = json.loads(capsys.readouterr().out)["runs"]
    assert run["details"]["form"] == "classifier"
    assert {path.rpartition("/")[2] for path in run["outputs"]} == {
        *("README.md", "config.json", "model.safetensors", "rmtgen.json")
    }


def test_the_first_of_a_ranking_is_exported_by_the_name_of_the_ranking(ranked, tmp_path, capsys):
    (ranking,) = output_of(ranked).glob("reports/*")
    for name in (ranking.name, str(ranking)):
        words = ["export", name, f"output={output_of(ranked)}", "--to", str(tmp_path / "one")]
        assert main([*words, "--overwrite"]) == 0
        assert ranked.name in capsys.readouterr().out


def test_exports_go_beside_the_runs_and_are_not_cleaned(ranked, tmp_path, capsys):
    shutil.copytree(output_of(ranked) / "runs", tmp_path / "runs")
    output = f"output={tmp_path}"
    assert main(["export", ranked.name, output]) == 0
    assert (tmp_path / "exports" / ranked.name / "model.safetensors").is_file()
    assert main(["clean", output]) == 0
    assert rmtgen.load_probe(tmp_path / "exports" / ranked.name).classes == tuple("0123456789")


def test_an_export_that_is_there_is_replaced_when_asked_alone(ranked, tmp_path, capsys):
    folder = export_probe(ranked, tmp_path / "probe")
    before = (folder / "rmtgen.json").read_bytes()
    with pytest.raises(UsageError, match="is there already. Name another place"):
        export_probe(ranked, folder)
    assert (folder / "rmtgen.json").read_bytes() == before
    export_probe(ranked, folder, relative_ridge=10.0, overwrite=True)
    assert rmtgen.load_probe(folder).quality["relative_ridge"] == pytest.approx(10)
    assert [path.name for path in tmp_path.iterdir()] == ["probe"]


@pytest.mark.parametrize("kind", ["folder", "file", "link"])
def test_what_is_no_export_is_never_replaced(ranked, kind, tmp_path):
    place = tmp_path / "mine"
    if kind == "folder":
        place.mkdir()
        (place / "thesis.txt").write_text("years")
    elif kind == "file":
        place.write_text("years")
    else:
        place.symlink_to(tmp_path)
    with pytest.raises(UsageError, match="is no export|is a file or a link"):
        export_probe(ranked, place, overwrite=True)
    assert place.exists() and len(list(tmp_path.iterdir())) == 1


def test_a_failure_leaves_nothing_and_what_was_there_stays(ranked, tmp_path, monkeypatch):
    monkeypatch.setattr(writing, "agree", lambda *_: False)
    with pytest.raises(NumericalError, match="read back must give the same scores"):
        export_probe(ranked, tmp_path / "deep" / "probe")
    assert list((tmp_path / "deep").iterdir()) == []
    monkeypatch.undo()
    folder = export_probe(ranked, tmp_path / "probe")
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(writing, "agree", lambda *_: False)
    with pytest.raises(NumericalError):
        export_probe(ranked, folder, overwrite=True)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_kill_leaves_no_export_and_the_next_one_clears_up(ranked, tmp_path, monkeypatch):
    child = os.fork()
    if child == 0:
        monkeypatch.setattr(writing, "agree", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        export_probe(ranked, tmp_path / "probe")
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == ["probe.partial"]
    export_probe(ranked, tmp_path / "probe")
    assert [path.name for path in tmp_path.iterdir()] == ["probe"]


def test_a_run_that_has_not_got_so_far_names_the_command(tmp_path, capsys):
    words = ("model=test_resnet", "train=40", "test=20")
    run = made(tmp_path, "run --stage extract", *words)
    with pytest.raises(MissingInputError, match=r"stage risk is not done.*--stage risk dataset="):
        export_probe(run, tmp_path / "probe")
    run = made(tmp_path / "other", "run --stage extract", *words[:2], "test=0")
    with pytest.raises(MissingInputError, match=r"stage score is not done.*`rmtgen rank dataset="):
        export_probe(run, tmp_path / "probe")
    assert not (tmp_path / "probe").exists()


def test_a_run_without_a_fit_of_all_its_images_names_the_ranking(tmp_path):
    words = ("model=test_resnet", "train=40", "test=20", "sizes=20", "trials=1")
    run = made(tmp_path, "run --stage risk", *words)
    with pytest.raises(UsageError, match=r"all 40 training images.*end at 20.*rmtgen rank"):
        export_probe(run, tmp_path / "probe")


def test_a_run_without_leave_one_out_needs_a_ridge(tmp_path):
    words = ("model=test_resnet", "train=40", "test=20", "sizes=40", "loo=false")
    run = made(tmp_path, "run --stage risk", *words)
    with pytest.raises(NumericalError, match="leave-one-out chooses the ridge: got no finite"):
        export_probe(run, tmp_path / "probe")
    quality = rmtgen.load_probe(export_probe(run, tmp_path / "probe", relative_ridge=10.0)).quality
    assert np.isnan(quality["loo"]) and quality["test_error"] <= 1


@pytest.mark.parametrize("words", [["tile=32"], ["projection=16"]])
def test_an_entk_is_no_linear_probe(words, tmp_path):
    given = ("model=test_resnet", "train=40", "kernel=entk", *words)
    run = made(tmp_path, "rank", *given)
    with pytest.raises(UsageError, match="needs kernel=features.*got kernel=entk.*gradients"):
        export_probe(run, tmp_path / "probe")


def test_targets_that_are_no_classes_and_features_without_a_network_are_refused(ranked):
    run = rmtgen.load_run(ranked)
    of_values = dataclasses.replace(run, config={**run.config, "task": "values"})
    with pytest.raises(UsageError, match="predicts one class an image: got task=values in"):
        quality_of(of_values)
    extracted = run.stages["extract"]
    details = {k: v for k, v in extracted.details.items() if not k.startswith("backbone")}
    extracted = dataclasses.replace(extracted, details=details)
    with pytest.raises(UsageError, match="of features of one's own, which no network made"):
        quality_of(dataclasses.replace(run, stages={**run.stages, "extract": extracted}))


def test_features_that_are_gone_are_named(ranked, tmp_path):
    run = tmp_path / "runs" / ranked.name
    shutil.copytree(ranked, run)
    next(run.glob("features/train-*.h5")).unlink()
    with pytest.raises(MissingInputError, match="train-"):
        export_probe(run, tmp_path / "probe")
    (run / "features.h5").unlink()
    with pytest.raises(MissingInputError, match=r"features.h5 is gone. Run .*--stage extract"):
        export_probe(run, tmp_path / "probe")
    shutil.rmtree(run)
    with pytest.raises(MissingInputError, match="no run at"):
        export_probe(run, tmp_path / "probe")


def test_another_network_than_that_of_the_features_is_refused(ranked, tmp_path, monkeypatch):
    monkeypatch.setattr(
        writing,
        "open_backbone",
        lambda _: rmtgen.load_backbone("test_byobnet", init="random", init_seed=1, img_size=32),
    )
    with pytest.raises(StaleInputError, match="must be the one that the features .* checkpoints="):
        export_probe(ranked, tmp_path / "probe")


def test_a_fit_that_is_not_the_measured_one_is_refused(measured, tmp_path, monkeypatch):
    found = writing.linear_fit
    monkeypatch.setattr(
        writing, "linear_fit", lambda *args: tuple(1.01 * part for part in found(*args))
    )
    with pytest.raises(NumericalError, match="the test risk that the run has measured: got"):
        export_probe(measured, tmp_path / "probe")


def test_another_dimension_is_refused(ranked, tmp_path, monkeypatch):
    opened = writing.open_backbone
    monkeypatch.setattr(writing, "open_backbone", lambda config: _narrower(opened(config)))
    with pytest.raises(CorruptInputError, match="of dimension 7: got 256"):
        export_probe(ranked, tmp_path / "probe")


def _narrower(backbone):
    object.__setattr__(backbone, "feature_dim", 7)
    return backbone


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        ([], 2, "a run that is named, got none. Known: "),
        (["nosuchrun"], 3, "no run 'nosuchrun' under"),
        (["{name}x"], 3, "Did you mean {name}?"),
        (["{tmp}/"], 3, "is a folder, and no run"),
        (["{name}", "model=resnet18"], 2, "expected names and NAME=VALUE of to, ridge, onnx"),
        (["{name}", "onnx=maybe"], 2, "onnx: "),
        (["{name}", "--to", "{tmp}/a", "to={tmp}/b"], 2, "to is given twice"),
    ],
)
def test_what_cannot_be_exported_is_refused(words, code, message, ranked, tmp_path, capsys):
    places = {"name": ranked.name, "tmp": tmp_path}
    given = [word.format(**places) for word in words]
    assert main(["export", *given, f"output={output_of(ranked)}"]) == code
    assert message.format(**places) in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_places_are_taken_as_python_has_them(ranked, tmp_path):
    places = {"checkpoints": tmp_path / "none", "data_root": "data", "download": False}
    folder = export_probe(str(ranked), str(tmp_path / "probe"), spill=None, **places)
    assert rmtgen.load_probe(str(folder)).classes == tuple("0123456789")
    assert repr(rmtgen.load_probe(folder)).endswith("probe': test_byobnet, 10 classes)")


def test_several_runs_are_exported_one_after_another(ranked, wide, tmp_path, capsys):
    for run in (ranked, wide):
        shutil.copytree(run, tmp_path / "runs" / run.name)
    words = ["export", ranked.name, wide.name[-8:], f"output={tmp_path}"]
    assert main([*words, "--to", str(tmp_path / "one")]) == 2
    assert "--to is the folder of one export, got 2 runs" in capsys.readouterr().err
    assert main(words) == 0
    names = {path.name for path in (tmp_path / "exports").iterdir()}
    assert names == {ranked.name, wide.name}


def test_arguments_of_the_function_are_checked(ranked, tmp_path):
    for bad in ({"onnx": 2}, {"overwrite": None}, {"colour": "red"}, {"download": "perhaps"}):
        with pytest.raises(UsageError):
            export_probe(ranked, tmp_path / "probe", **bad)
    with pytest.raises(UsageError, match="folder must be a path"):
        export_probe(ranked, 3)
    with pytest.raises(UsageError, match="unknown place 'colour': expected one of checkpoints"):
        export_probe(ranked, tmp_path / "probe", colour="red")
