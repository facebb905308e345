"""The stage graph: one list of stages, each beside its work, its cost and its recipe."""

import ast
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from trees import tree

import rmtgen
from rmtgen.cli.main import main
from rmtgen.runs.config import Config
from rmtgen.runs.graph import DECLARED, KEPT, RUN_STAGES, STAGES, leading_to, solves_gram

ROOT = Path(__file__).parents[2]
CONFIGS = [
    Config(kernel=kernel, solve_from=solve_from)
    for kernel, solve_from in (
        *(("features", solve_from) for solve_from in ("auto", "features", "gram")),
        ("entk", "gram"),
    )
] + [Config(kernel="entk", projection=64)]


@pytest.mark.parametrize("name", DECLARED)
def test_a_stage_is_a_module_with_its_work_and_its_cost(name):
    module = importlib.import_module(f"rmtgen.stages.{name}")
    assert callable(module.work)
    assert hasattr(module, "divide") == DECLARED[name].divided
    assert hasattr(module, "cost") == (name in KEPT)


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_has_a_recipe_without_a_body(name):
    text = (ROOT / "pipelines" / f"{name}.py").read_text()
    imported = {
        node.module for node in ast.walk(ast.parse(text)) if isinstance(node, ast.ImportFrom)
    }
    assert imported == {"collections.abc", "rmtgen.cli.main"}
    assert len(text.splitlines()) <= 15


def test_every_module_of_work_is_in_the_graph():
    """A module of stages that defines `work` is a stage."""
    found = {
        path.stem
        for path in (ROOT / "rmtgen" / "stages").glob("*.py")
        if any(
            isinstance(node, ast.FunctionDef) and node.name == "work"
            for node in ast.parse(path.read_text()).body
        )
    }
    assert found == set(DECLARED)


@pytest.mark.parametrize("config", CONFIGS, ids=Config.run_name.fget)
def test_a_stage_reads_only_stages_before_it(config):
    for name, stage in STAGES.items():
        reads = stage.reads(config)
        assert set(reads) <= set(leading_to(name)[:-1])
        assert len(set(reads)) == len(reads)


@pytest.mark.parametrize("config", CONFIGS, ids=Config.run_name.fget)
def test_what_is_needed_is_read_by_a_later_stage(config):
    """And a result that is not needed is the one that no stage has to have."""
    for dim in (None, 1, 10**9):
        for name in RUN_STAGES:
            if not STAGES[name].needed(config, dim):
                assert name == "gram"
                assert not solves_gram(config, dim)
        readers = {read for stage in STAGES.values() for read in stage.reads(config)}
        assert {name for name in RUN_STAGES if STAGES[name].needed(config, dim)} <= readers


def test_no_two_stages_leave_the_same_file():
    files = [name for stage in STAGES.values() for name in stage.files]
    assert len(set(files)) == len(files)


def test_summaries_fit_a_line_of_the_help():
    assert all(len(stage.summary) <= 68 for stage in STAGES.values())


@pytest.mark.parametrize(
    ("solve_from", "train", "dim", "expected"),
    [
        *(
            ("auto", 100, dim, expected)
            for dim, expected in ((None, True), (100, True), (99, False))
        ),
        *(("gram", 100, dim, True) for dim in (None, 1, 1000)),
        *(("features", 100, dim, False) for dim in (None, 1, 1000)),
    ],
)
def test_the_smaller_problem_is_solved_or_the_one_asked_for(solve_from, train, dim, expected):
    config = Config(train=train, solve_from=solve_from, sizes=(10,))
    assert solves_gram(config, dim) is expected
    assert STAGES["gram"].needed(config, dim) is expected


def test_leading_to_ends_at_the_stage():
    assert leading_to("extract") == ("extract",)
    assert leading_to("risk") == ("extract", "gram", "spectrum", "risk")
    assert leading_to("report") == tuple(STAGES)


@pytest.mark.parametrize("stage", ["spectrum", "risk", "theory"])
def test_a_stage_that_solves_imports_no_image_library(stage):
    code = (
        f"import sys, rmtgen.stages.{stage}\n"
        "heavy = {'timm', 'torchvision', 'matplotlib', 'jinja2'} & set(sys.modules)\n"
        "assert 'torch' in sys.modules\nassert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture
def wide(tiny_images, tmp_path):
    """Words of a run with more samples than features, 97 > 96: nothing reads its Gram matrix."""
    return [*tiny_images, "train=97", "sizes=12,97", "trials=1", f"output={tmp_path}"]


def the_run(output):
    (folder,) = (output / "runs").iterdir()
    return folder


def test_a_gram_matrix_that_nothing_reads_is_not_made(wide, tmp_path, capsys):
    assert main(["run", "--stage", "theory", *wide]) == 0
    shown = capsys.readouterr().out
    assert "–  not needed: the later stages read the features" in shown
    folder = the_run(tmp_path)
    assert not list(folder.glob("gram*"))
    run = rmtgen.load_run(folder)
    assert run.gram is None
    assert list(run.stages) == ["extract", "spectrum", "risk", "theory"]
    assert "not done" not in repr(run)
    assert main(["gram", *wide]) == 0
    assert not list(folder.glob("gram*"))


def test_solve_from_gram_makes_it(wide, tmp_path):
    assert main(["run", "--stage", "spectrum", *wide, "solve_from=gram"]) == 0
    assert rmtgen.load_run(the_run(tmp_path)).gram.shape == (97 + 48, 97)


def test_before_the_features_are_there_it_may_be_needed(wide, capsys):
    """Its dimension is not known yet, so the command says what to run first."""
    assert main(["gram", *wide]) == 3
    assert "Run `rmtgen run --stage extract`" in capsys.readouterr().err


NEW = '''
"""Stage `extra`: features -> extra.txt."""

from rmtgen.stages.engine import Result


def work(job):
    """Count the stages read."""
    path = job.folder / "extra.txt"
    path.write_text(f"{len(job.run.upstream(job.stage))}\\n")
    return Result([path], "counted")


def cost(workload):
    """Nothing."""
    from rmtgen.stages.cost import StageCost

    return StageCost(1.0, 1, 2, 0.5)
'''
ENTRY = """    "extra": Stage(summary="features -> extra.txt", files=("extra.txt",), reads=_pool),
    "report": Stage("""


@pytest.fixture
def package(tmp_path):
    """A copy of the package with one more file, and one more line in the graph."""
    copy = Path(shutil.copytree(ROOT / "rmtgen", tmp_path / "package" / "rmtgen"))
    (copy / "stages" / "extra.py").write_text(NEW.lstrip())
    graph = (copy / "runs" / "graph.py").read_text()
    assert graph.count('    "report": Stage(') == 1
    (copy / "runs" / "graph.py").write_text(graph.replace('    "report": Stage(', ENTRY))
    return copy.parent


def test_a_new_stage_is_one_file_and_one_line(package, copied):
    """It runs, is cached, is listed, verified and predicted, and leaves the other stages alone."""
    run, words = copied

    def rmtgen(*arguments):
        done = subprocess.run(
            [sys.executable, "-m", "rmtgen", *arguments],
            cwd=package,
            capture_output=True,
            text=True,
            check=False,
            env={**os.environ, "PYTHONPATH": str(package)},
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    before = tree(run)
    assert "  extra     features -> extra.txt" in rmtgen("--help")
    rows = rmtgen("run", "--stage", "extra", *words).splitlines()
    assert [row.split()[0] for row in rows] == [*RUN_STAGES, "extra"]
    assert [row.split()[2] == "cached" for row in rows] == [True] * len(RUN_STAGES) + [False]
    assert rows[-1].endswith("counted")
    after = tree(run)
    assert {name: after[name] for name in before} == before
    assert after.keys() - before.keys() == {"extra.json", "extra.txt"}
    assert after["extra.txt"] == b"2\n"
    assert rmtgen("extra", *words).split()[-1] == "cached"
    assert rmtgen("ls", words[-1]).splitlines()[-1].split()[1] == "extra"
    assert "extra " in rmtgen("verify", words[-1])
    planned = json.loads(rmtgen("plan", "--json", *words))["runs"][0]["details"]["stages"]
    assert {"stage": "extra", "disk": 2}.items() <= planned[-1].items()
