"""Half-finished runs open, and name the command that goes on."""

import json
import re
import shlex
import shutil

import pytest
from damage import edit, of

import rmtgen
from rmtgen.cli.main import main
from rmtgen.errors import MissingInputError
from rmtgen.report.loading import load_result
from rmtgen.runs.graph import RUN_STAGES


def test_a_half_finished_run_opens_and_says_how_to_go_on(copy):
    for name in ("theory.json", "theory.csv", "theory.h5", "theory.csv-metadata.json"):
        (copy / name).unlink()
    run = rmtgen.load_run(copy)
    assert list(run.stages) == [
        "extract",
        "gram",
        "spectrum",
        "risk",
    ] and "; not done: theory)" in repr(run)
    assert len(run.risk) == 30
    with pytest.raises(
        MissingInputError, match=rf"stage theory is not done .* no {of(copy)}/theory.json"
    ) as refused:
        _ = run.theory
    command = re.search("Run `rmtgen run --stage theory (.*)`\\.$", str(refused.value))[1]
    assert "output=" in command and "ridges=0.0," in command and "loo" not in command
    assert main(["run", "--stage", "theory", *shlex.split(command)]) == 0
    assert len(rmtgen.load_run(copy).theory["predictions"]) == 30


def test_settings_that_no_finished_stage_knows_are_asked_for(copy):
    for stage in RUN_STAGES[1:]:
        (copy / f"{stage}.json").unlink()
    run = rmtgen.load_run(copy)
    assert run.features.train.shape[0] == 96
    unknown = "kernel, head_seed, solve_from, gram_dtype, tile, targets, sizes, trials, ridges, loo"
    for attribute, stage in {
        "risk": "risk",
        "gram": "gram",
        "targets": "spectrum",
        "curve": "risk",
    }.items():
        with pytest.raises(
            MissingInputError,
            match=f"Run `rmtgen run --stage {stage} .*` with what was set of {unknown}, which is not stored",
        ):
            getattr(run, attribute)


def test_settings_that_are_the_defaults_need_not_be_stored(other):
    """No stage of this run knows of the tile, and the name of the run shows that it is the default."""
    run = rmtgen.load_run(other)
    assert "tile" not in run.config
    with pytest.raises(
        MissingInputError, match=r"Run `rmtgen run --stage theory .* loo=False output=\S*`\.$"
    ):
        _ = run.theory
    assert run.risk["loo"].isna().all() and run.risk["loo"].dtype == float


def test_one_stage_alone_can_be_handed_on(folder, tmp_path):
    for name in ("risk.json", "risk.csv", "curve.csv"):
        shutil.copy2(folder / name, tmp_path)
    run = rmtgen.load_run(tmp_path)
    assert len(run.risk) == 30 and run.config["train"] == 96
    with pytest.raises(MissingInputError, match="stage extract is not done"):
        _ = run.labels


@pytest.mark.parametrize("value", ["a b", "it's", "$HOME", "50%", "#1", "ü"])
def test_the_command_keeps_odd_settings(folder, tmp_path, value):
    run = shutil.copytree(folder, tmp_path / value / "runs" / folder.name)
    (run / "theory.json").unlink()
    with pytest.raises(MissingInputError) as refused:
        _ = rmtgen.load_run(run).theory
    words = shlex.split(re.search("`(rmtgen run .*)`", str(refused.value))[1])
    assert f"output={tmp_path / value}" in words


def test_runs_made_before_there_were_sidecars_and_curves_still_open(copy):
    (copy / "theory.json").unlink()
    for path in (copy / "curve.csv", *copy.glob("*-metadata.json")):
        path.unlink()
    outputs = json.loads((copy / "risk.json").read_text())["outputs"]
    edit(copy / "risk.json", outputs={"risk.csv": outputs["risk.csv"]})
    run = rmtgen.load_run(copy)
    assert len(run.risk) == 30 and run.curve is None
    result = load_result(copy)
    assert result.curve is None and result.theory is None
