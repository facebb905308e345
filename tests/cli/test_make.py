"""Make: the words that it passes on, its help, and its exit code."""

import os
import re
import shlex
import shutil
import stat
import subprocess

import pytest
from terminals import ROOT

from rmtgen.runs.config import FIELDS
from rmtgen.runs.experiment import EXPERIMENTS
from rmtgen.runs.graph import STAGES

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="needs make")


@pytest.fixture
def venv(tmp_path):
    """A virtual environment in which `rmtgen` shows what it was given, call by call: RMTGEN_MAKE
    and the arguments. Its exit code is that in the variable CODE."""
    program = tmp_path / "venv" / "bin" / "rmtgen"
    program.parent.mkdir(parents=True)
    program.write_text(
        '#!/bin/sh\nprintf "%s\\1" "${RMTGEN_MAKE-unset}" "$@"\nprintf "\\2"\nexit ${CODE-0}\n'
    )
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    for name in (".installed", ".installed-dev"):
        mark = tmp_path / "venv" / name
        mark.touch()
        os.utime(mark, (2**32, 2**32))  # newer than setup.cfg, so that nothing is installed
    return tmp_path / "venv"


@pytest.fixture
def make(venv):
    """Run make; what `rmtgen` was given, by call. The variables of a make that runs the tests stay
    out of it."""
    passed_on = ("MAKEFLAGS", "MAKEOVERRIDES", "MFLAGS", "PYTHON", "VENV")
    environment = {name: value for name, value in os.environ.items() if name not in passed_on}

    def run(*arguments, **variables):
        command = ["make", f"VENV={venv}", *arguments]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=environment | variables,
            capture_output=True,
            check=True,
        )
        return [call.split("\1")[:-1] for call in done.stdout.decode().split("\2")[:-1]]

    return run


def test_a_target_is_one_process_and_knows_how_make_was_called(make, venv):
    (call,) = make("spectrum", "CONFIG=demo", "TRAIN=5")
    assert call[1:] == ["run", "--stage", "spectrum", "demo", "TRAIN=5"]
    assert shlex.split(call[0]) == ["make", "CONFIG=demo", f"VENV={venv}"]
    for target, words in {
        "all": ["run"],
        "demo": ["run", "demo"],
        "plan": ["plan"],
        **{stage: ["run", "--stage", stage] for stage in STAGES},
    }.items():
        (call,) = make(target)
        assert call[1:] == words
        assert shlex.split(call[0])[0] == "make"


HARMFUL = (
    "$(shell touch {mark})",
    "${{shell touch {mark}}}",
    "$(eval x := $(shell touch {mark}))",
    "$$(shell touch {mark})",
    "$(touch {mark})",
    "`touch {mark}`",
    "x'; touch {mark}; echo '",
    'x"; touch {mark}; echo "',
    "x; touch {mark} #",
    "x\ntouch {mark}\n",
    "x'\ntouch {mark}\n'",
    "x & touch {mark} | cat",
)
"""Texts that a shell or make would run, if either read them."""


@pytest.mark.parametrize(
    "value",
    [
        *(
            "my $PICTURES, it's (them)",
            "do$llar",
            "$$",
            "$(HOME)",
            "a\\ b\\",
            "50% #1",
            "a\nb\n",
            "a=b",
        ),
        *('"', "*", "~", "-n", "é\t", "a  b ", "!", "$@", "\\\n", *HARMFUL),
    ],
)
def test_values_are_passed_on_as_they_are(make, tmp_path, value):
    mark = tmp_path / "mark"
    value = value.format(mark=mark) if value in HARMFUL else value
    for given in ("CONFIG=", "WEIGHTS="):
        (call,) = make("extract", f"{given}{value}")
        assert call[1:] == ["run", "--stage", "extract", f"{given}{value}".removeprefix("CONFIG=")]
        if given == "CONFIG=":
            assert shlex.split(call[0])[1] == f"{given}{value}"
    assert make("clean", f"OUTPUT={value}")[0][1:] == ["clean", f"OUTPUT={value}"]
    assert make("compare", f"RUNS={value}")[0][1:] == ["compare", *value.split()]
    assert not mark.exists()


NAMES = ("MODEL", "VENV", "PYTHON", "BENCH", "STAGES", "quoted", "FIELDS", "v", ".v", "SHELL")


@pytest.mark.parametrize("value", HARMFUL)
def test_no_value_runs_where_it_is_not_used(tmp_path, value):
    mark = tmp_path / "mark"
    given = {name: value.format(mark=mark) for name in NAMES}
    for words in ([f"{name}={text}" for name, text in given.items()], ["-e"]):
        for environment in ({}, given):
            done = subprocess.run(
                ["make", "help", *words],
                cwd=ROOT,
                env={**os.environ, **environment},
                capture_output=True,
                check=False,
            )
            assert (done.returncode, mark.exists()) == (0, False), done.stderr


@pytest.mark.parametrize("name", ["STAGES", "RMTGEN", "quoted", "FIELDS", "ARGUMENTS", "GIVEN"])
def test_no_variable_takes_the_place_of_one_of_the_makefile(make, tmp_path, name):
    (call,) = make("plan", f"{name}=touch {tmp_path / 'mark'};")
    assert call[1] == "plan"
    assert any(word.startswith(f"{name}=") for word in call)  # for the program to refuse
    assert not (tmp_path / "mark").exists()


def test_variables_of_the_environment_are_text_too(make, venv, tmp_path, monkeypatch):
    value = f"$(shell touch {tmp_path / 'mark'})"
    call = make("plan", CONFIG=value, MODEL=value)[0]
    assert call[1:] == ["plan", value]
    assert shlex.split(call[0]) == ["make", f"CONFIG={value}", f"VENV={venv}"]
    assert not (tmp_path / "mark").exists()


def test_a_place_of_the_environment_may_have_any_name(make, venv, tmp_path):
    odd = venv.rename(tmp_path / "it's $(my) env: 50%;")
    (call,) = make("plan", f"VENV={odd}")
    assert (call[1:], shlex.split(call[0])) == (["plan"], ["make", f"VENV={odd}"])


def test_a_variable_that_is_no_word_is_refused_before_anything_runs(venv):
    done = subprocess.run(
        ["make", "plan", "IMG SIZE=64", f"VENV={venv}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert "got: plan IMG SIZE=64" in done.stderr


def test_commands_on_results_get_names_and_output(make):
    assert make("compare", "RUNS=one two")[0][1:] == ["compare", "one", "two"]
    assert make("compare", "OUTPUT=my data")[0][1:] == ["compare", "OUTPUT=my data"]
    assert make("clean", "OUTPUT=there")[0] == ["unset", "clean", "OUTPUT=there"]


def test_json_is_passed_on(make):
    for target in ("all", "plan", "compare", *STAGES):
        assert make(target, "JSON=1")[0][-1] == "--json"
    for off in ("", "0", "false"):
        assert "--json" not in make("extract", f"JSON={off}")[0]


@pytest.mark.parametrize("code", [2, 3, 4, 130])
def test_every_failure_is_exit_code_2_of_make(venv, code):
    done = subprocess.run(
        ["make", "extract", f"VENV={venv}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "CODE": str(code)},
    )
    assert done.returncode == 2
    assert f"Error {code}" in done.stderr


@pytest.mark.parametrize("name", ["extarct", "a b", "%", "$$", "it's", "é", *HARMFUL])
def test_an_unknown_target_is_named_with_those_there_are(tmp_path, name):
    mark = tmp_path / "mark"
    name = name.format(mark=mark)
    done = subprocess.run(["make", name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, mark.exists()) == (2, False)
    if "=" not in name and name[-1] != ")":  # make reads X(Y) as a member of an archive
        assert f"no target '{name}'" in done.stderr
        assert set(STAGES) <= set(re.search("Targets: (.*)", done.stderr)[1].split())


@pytest.fixture(scope="module")
def help_text():
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout


def test_help_explains_every_target_and_every_variable(help_text):
    text = (ROOT / "Makefile").read_text()
    explained = set(re.findall(r"^  ([A-Za-z-]+) +\S", help_text, re.MULTILINE))
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)[1].split()) - {"$(STAGES)"}
    assert phony == set(re.findall(r"^([a-z-]+):.* ## ", text, re.MULTILINE))
    assert phony | set(STAGES) <= explained
    variables = re.findall(r"^([A-Z]+) \?=", text, re.MULTILINE)
    assert set(variables) == set(
        re.search(r"^override OWN := (.*)$", text, re.MULTILINE)[1].split()
    )
    assert {*variables, "FIELD"} <= explained
    assert {name.upper() for name in FIELDS} <= set(help_text.split())


def test_help_describes_the_stages_in_their_order(help_text):
    shown = dict(re.findall(r"^  ([a-z]+) +(\S.*)$", help_text, re.MULTILINE))
    assert [name for name in shown if name in STAGES] == list(STAGES)
    assert {name: shown[name] for name in STAGES} == {
        name: stage.summary for name, stage in STAGES.items()
    }


def test_help_names_configurations_and_benchmarks_in_eighty_columns(help_text):
    assert {path.stem for path in EXPERIMENTS.glob("*.yaml")} <= set(help_text.split())
    text = (ROOT / "tests/bench/__main__.py").read_text()
    benchmarks = re.search(r"^ALL = \((.*?)\)$", text, re.MULTILINE | re.DOTALL)[1]
    assert set(re.findall(r"[a-z_]+", benchmarks)) <= set(help_text.split())
    assert max(map(len, help_text.splitlines())) <= 80
    assert {"start", "upkeep", "variables", "examples"} <= set(help_text.splitlines())
