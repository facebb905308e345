"""Help and version: complete, in eighty columns, and without a heavy import."""

import importlib
import re
import subprocess
import sys

import pytest
from terminals import ROOT

import rmtgen
from rmtgen.cli.main import COMMANDS, main
from rmtgen.errors import RmtgenError
from rmtgen.runs.config import FIELDS
from rmtgen.runs.experiment import EXPERIMENTS
from rmtgen.runs.graph import STAGES

HEAVY = (
    *("torch", "torchvision", "timm", "numpy", "scipy", "pandas", "h5py", "matplotlib"),
    *("jinja2", "yaml", "tqdm", "safetensors", "PIL"),
)
ON_RESULTS = ("compare", "ls", "verify", "clean")
"""The commands that take names of runs and no configuration."""
ON_FILES = ("export", "predict")
"""The commands that take files, and options of their own."""
ALL = [*COMMANDS, *STAGES]


def imported(code, *words):
    """The heavy modules that a program has imported when it ends."""
    code = f"import sys\n{code}\nprint('imported', *sorted(set({HEAVY}) & sys.modules.keys()))"
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[-1].split()[1:]


@pytest.fixture
def help_of(capsys, monkeypatch):
    """The help of one command, as shown in eighty columns."""
    monkeypatch.setenv("COLUMNS", "80")

    def read(*words):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--help"])
        assert ended.value.code == 0
        return capsys.readouterr().out

    return read


@pytest.mark.parametrize("arguments", [[], ["--help"], ["-h"], ["help"]])
def test_the_program_lists_its_commands_and_stages(arguments, capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["rmtgen"])
    assert main(arguments or None) == 0
    shown = capsys.readouterr().out
    assert re.findall(r"^  ([a-z-]+) +\S", shown, re.MULTILINE)[: len(ALL)] == ALL
    assert all(stage.summary in shown for stage in STAGES.values())
    assert "exit codes: 0 done" in shown
    assert max(map(len, shown.splitlines())) <= 80


@pytest.mark.parametrize("flag", ["--version", "-V"])
def test_the_version_is_that_of_the_package(flag, capsys):
    assert main([flag]) == 0
    assert capsys.readouterr().out == f"rmtgen {rmtgen.__version__}\n"


@pytest.mark.parametrize("command", ALL)
def test_the_help_of_every_command_fits_eighty_columns(command, help_of):
    shown = help_of(command)
    assert shown.startswith(f"usage: rmtgen {command} ")
    assert max(map(len, shown.splitlines())) <= 80
    assert "--json" in shown
    assert "exit codes: 0 done" in shown


@pytest.mark.parametrize("command", [name for name in ALL if name not in (*ON_RESULTS, *ON_FILES)])
def test_a_command_on_a_configuration_explains_every_field_with_its_default(command, help_of):
    text = " ".join(help_of(command).split())
    for field in FIELDS.values():
        flag = f"--{field.name.replace('_', '-')} VALUE"
        assert f"{flag} {field.metadata['help']} [{field.metadata['default']}]" in text
    assert all(path.stem in text for path in EXPERIMENTS.glob("*.yaml"))


def test_a_default_is_shown_as_it_is_typed():
    for field in FIELDS.values():
        assert field.metadata["parse"](field.metadata["default"]) == field.default


@pytest.mark.parametrize("command", ON_RESULTS)
def test_a_command_on_results_takes_names_and_no_field(command, help_of):
    shown = help_of(command)
    assert "[RUN ...] [output=DIR]" in shown
    assert "--img-size" not in shown


@pytest.mark.parametrize("command", ON_FILES)
def test_a_command_on_files_explains_its_options(command, help_of):
    options = importlib.import_module(f"rmtgen.cli.{command}").OPTIONS
    text = " ".join(help_of(command).split())
    for name, option in options.items():
        assert f"--{name.replace('_', '-')}" in text and option.help in text
    assert "--img-size" not in text


def test_the_stage_option_is_in_the_usage_of_run_alone(help_of):
    assert "[--stage NAME]" in help_of("run").splitlines()[0]
    assert "--stage" not in help_of("plan")


def test_help_imports_nothing_that_it_does_not_need():
    code = (
        "from rmtgen.cli.main import main\n"
        "assert main(['--help']) == main(['--version']) == 0\n"
        f"for command in {ALL}:\n"
        "    try:\n"
        "        main([command, '--help'])\n"
        "    except SystemExit as ended:\n"
        "        assert ended.code == 0"
    )
    assert imported(code) == []


def test_an_unknown_command_imports_nothing_heavy_either():
    assert imported("from rmtgen.cli.main import main\nassert main(['rnu']) == 2") == []


def test_import_rmtgen_is_light():
    assert imported("import rmtgen") == []
    assert imported("import rmtgen; rmtgen.GramStore") == ["h5py", "numpy"]


@pytest.mark.parametrize("words", [["--help"], ["--version"], ["ls"], ["run", "--help"]])
def test_a_reader_that_goes_away_leaves_no_traceback(words, tmp_path):
    """The pipe is closed before the first word is written."""
    code = (
        "import os, sys\n"
        "reading, writing = os.pipe()\n"
        "os.close(reading)\n"
        "os.dup2(writing, 1)\n"
        "from rmtgen.cli.main import main\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    where = [f"output={tmp_path}"] if words == ["ls"] else []
    done = subprocess.run(
        [sys.executable, "-c", code, *words, *where],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode in (0, RmtgenError.exit_code)


@pytest.mark.parametrize("name", [*STAGES, "plan", "compare"])
def test_a_module_of_pipelines_is_the_command_of_its_name(name, monkeypatch):
    module, calls = importlib.import_module(f"pipelines.{name}"), []
    monkeypatch.setattr(module, "rmtgen", lambda words: calls.append(words) or 7)
    monkeypatch.setattr(sys, "argv", ["pipelines", "from", "the line"])
    assert module.main() == module.main(["given"]) == 7
    assert calls == [[name, "from", "the line"], [name, "given"]]


@pytest.mark.parametrize(
    "how", [["-m", "rmtgen"], ["-m", "pipelines"], ["-c", "import rmtgen.cli.main as m; m.main()"]]
)
def test_every_way_in_is_the_same_program(how):
    done = subprocess.run(
        [sys.executable, *how, "--version"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"rmtgen {rmtgen.__version__}\n"
