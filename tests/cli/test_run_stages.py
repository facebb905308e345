"""`rmtgen run`: all stages in one process, or those up to one; a cached run imports little."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from terminals import ROOT, made, replace_work

from rmtgen.cli.main import main
from rmtgen.errors import UsageError
from rmtgen.report.summary import SUMMARY
from rmtgen.runs.graph import RUN_STAGES, STAGES
from rmtgen.stages.engine import Result

HEAVY = (
    *("torch", "torchvision", "timm", "scipy", "pandas", "matplotlib", "h5py", "jinja2"),
    *("tqdm", "safetensors", "yaml"),
)


@pytest.fixture
def works(monkeypatch):
    """Which stages worked, and in which process; the work itself is to write one file."""
    seen = []

    def work(job):
        seen.append((job.stage, os.getpid()))
        names = [name for name in STAGES[job.stage].files if not name.endswith("/")]
        for name in names:
            summary = json.dumps({"tables": [], "notes": []})
            (job.directory.path / name).write_text(summary if name == SUMMARY else name)
        paths = [job.directory.path / name for name in names]
        return Result(paths, "done", {"feature_dim": 20000} if job.stage == "extract" else {})

    for stage in STAGES:
        replace_work(monkeypatch, stage, work)
    return seen


def test_every_stage_runs_once_in_this_process_and_then_is_cached(words, works, capsys):
    assert main(["run", *words]) == 0
    assert works == [(stage, os.getpid()) for stage in STAGES]
    assert main(["run", *words]) == 0
    assert len(works) == len(STAGES)
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith(tuple(STAGES))]
    assert [row.split()[0] for row in rows] == [*STAGES, *STAGES]
    assert all(row.endswith("cached") for row in rows[len(STAGES) :])


def test_runs_go_through_each_stage_together(words, works):
    assert main(["run", *words, "model=test_resnet,test_vit"]) == 0
    stages = [stage for stage, _ in works]
    assert stages == [*(stage for stage in RUN_STAGES for _ in range(2)), "report"]


@pytest.mark.parametrize("last", STAGES)
def test_stage_is_the_last_one_that_runs(words, works, last):
    assert main(["run", "--stage", last, *words]) == 0
    order = list(STAGES)
    assert [stage for stage, _ in works] == order[: order.index(last) + 1]


def test_what_is_not_needed_is_neither_made_nor_cached(words, works, capsys):
    assert main(["run", *words, "solve_from=features"]) == 0
    assert "gram" not in dict(works)
    assert re.search(r"^gram .*–  not needed", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--stage", "thoery"], "unknown stage 'thoery'. Did you mean theory?"),
        (["demo", "theories"], "expected one CONFIG and FIELD=VALUE words, got 'demo' and 'theo"),
        (["demo", "--config", "theories"], "got 'theories' and 'demo'"),
        (["--trian", "5"], "unknown flag '--trian'. Did you mean train"),
        (["--trian=5"], "unknown flag '--trian=5'. Did you mean train"),
        (["--train"], "argument --train: expected one argument. See --help."),
        (["TRIAN=5"], "unknown field 'trian'. Did you mean train"),
        (["=5"], "unknown field ''"),
    ],
)
def test_a_mistyped_line_is_one_line_and_exit_code_2(words, message, works, capsys):
    assert main(["run", *words]) == 2
    error = capsys.readouterr().err
    assert error.startswith("rmtgen: error: ")
    assert message in error
    assert error.count("\n") == 1
    assert not works


def test_one_configuration_named_twice_is_one(words, works):
    assert main(["run", "demo", "--config", "demo", *words, "--stage", "extract"]) == 0


@pytest.mark.parametrize("line", [["TRAIN=48"], ["Train=48"], ["--train", "48"], ["--train=48"]])
def test_a_field_is_read_in_any_case_and_as_a_flag(line, words, works, tmp_path):
    assert main(["run", *words, *line, "--stage", "extract"]) == 0
    (manifest,) = tmp_path.glob("runs/*/extract.json")
    assert json.loads(manifest.read_text())["spec"]["train"] == 48


def test_flags_stand_anywhere_among_the_words(words, works, line_of):
    assert main(["run", "--json", words[0], "--stage", "extract", *words[1:], "--test", "9"]) == 0
    assert line_of()["runs"][0]["status"] == "computed"


def test_a_cached_run_imports_nothing_heavy(finished):
    code = (
        "import sys\nfrom rmtgen.cli.main import main\n"
        "assert main(['run', *sys.argv[1:]]) == 0\n"
        f"heavy = set({HEAVY}) & set(sys.modules)\nassert not heavy, heavy\n"
        "stages = {name for name in sys.modules if name.startswith('rmtgen.stages.')}\n"
        "light = {f'rmtgen.stages.{name}' for name in ('engine', 'progress', 'shared')}\n"
        "assert stages == light, stages"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *finished[1]], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    rows = done.stdout.splitlines()[: len(STAGES)]
    assert [(row.split()[0], row.split()[-1]) for row in rows] == [
        (stage, "cached") for stage in STAGES
    ]


LINES = {
    "usage": (["extract", "modle=resnet50"], 2),
    "missing": (["compare", "output=/nonesuch"], 3),
    "missing configuration": (["plan", "dmo"], 3),
    "fine": (["report", "--help"], 0),
}
SCRIPT = Path(sys.executable).with_name("rmtgen")


@pytest.mark.parametrize("case", LINES)
def test_exit_codes_are_the_same_for_every_caller(case):
    (command, *rest), code = LINES[case]
    callers = [
        [sys.executable, "-m", "rmtgen", command],
        [sys.executable, "-m", "pipelines", command],
        [sys.executable, "-m", f"pipelines.{command}"],
        *([[str(SCRIPT), command]] if SCRIPT.exists() else []),
    ]
    for caller in callers:
        done = subprocess.run([*caller, *rest], cwd=ROOT, capture_output=True, check=False)
        assert done.returncode == code, caller


def test_a_pipe_that_closes_midway_is_no_traceback(words):
    """The reader leaves before the first row is written."""
    code = (
        "import sys, types, os\n"
        "from rmtgen.cli.main import main\n"
        "from rmtgen.stages.engine import Result\n"
        "module = sys.modules['rmtgen.stages.extract'] = types.ModuleType('extract')\n"
        "module.work = lambda job: Result([], 'done', {'feature_dim': 4})\n"
        "reading, writing = os.pipe()\nos.close(reading)\nos.dup2(writing, 1)\n"
        "sys.exit(main(['extract', *sys.argv[1:]]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (3, "")


def test_an_unknown_command_is_a_usage_error(capsys):
    assert main(["extarct"]) == 2
    shown = capsys.readouterr().err
    assert shown == "rmtgen: error: unknown command 'extarct'. Did you mean extract, export?\n"


def test_a_stage_alone_does_not_run_those_before_it(words, works, capsys):
    assert main(["spectrum", *words]) == 3
    assert "Run `rmtgen run --stage extract` with the same settings" in capsys.readouterr().err
    assert not works


def test_a_work_that_prints_does_not_disturb_the_rows_of_a_pipe(words, monkeypatch, capsys):
    replace_work(monkeypatch, "extract", made)
    assert main(["extract", *words]) == 0
    assert capsys.readouterr().out.splitlines()[-1].startswith("extract  test_resnet-random-")


@pytest.mark.parametrize(
    ("mistake", "code"),
    [
        ("model=nonesuch", 2),
        ("train=900000", 2),
        ("dataset=nonesuch", 2),
        ("dataset=folder:/nonesuch", 3),
        ("device=cdua", 2),
        ("init=pretrained,weights=/nonesuch.pth", 3),
        ("trian=5", 2),
    ],
)
def test_a_mistake_leaves_no_folder(tiny_images, tmp_path, mistake, code):
    output = tmp_path / "a" / "b"
    words = [*tiny_images, f"output={output}", *mistake.split(",")]
    for command in ("run", "extract"):
        assert main([command, *words]) == code
    assert not (tmp_path / "a").exists()


def test_a_mistake_leaves_the_folders_that_were_there(words, tmp_path, monkeypatch):
    def fails(job):
        raise UsageError("no")

    def fails_late(job):
        (job.folder / "begun").write_text("part")
        raise UsageError("no")

    (tmp_path / "runs").mkdir()
    replace_work(monkeypatch, "extract", fails)
    assert main(["extract", *words]) == 2
    assert list(tmp_path.rglob("*")) == [tmp_path / "runs"]
    replace_work(monkeypatch, "extract", fails_late)
    assert main(["extract", *words]) == 2
    replace_work(monkeypatch, "extract", fails)
    assert main(["extract", *words]) == 2
    assert {path.name for path in tmp_path.glob("runs/*/*")} == {".lock", "begun"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([""], "the name of a configuration must not be empty"),
        (["--config", ""], "the name of a configuration must not be empty"),
        (["=5"], "unknown field ''"),
        (["img size=64"], "unknown field 'img size'. Did you mean img_size"),
        (
            [f"dataset=wds:a-{number}.tar" for number in range(3)],
            "dataset is given 3 times (wds:a-0.tar, wds:a-1.tar, …). Give it once; braces",
        ),
        (["--train", "5", "train=6"], "train is given both as a flag and as a word"),
    ],
)
def test_a_word_that_means_nothing_is_refused(given, message, capsys):
    assert main(["run", *given]) == 2
    assert message in capsys.readouterr().err


def test_a_word_that_is_given_twice_is_noted_and_the_last_counts(capsys):
    assert main(["plan", "train=6", "train=6", "TRAIN=50", "model=nosuchnet", "test=0"]) == 2
    errors = capsys.readouterr().err
    assert errors.count("train is given as '6' and as '50': the last counts") == 1
    assert "nosuchnet" in errors
