"""What to type next: the command that follows, written as this one was."""

import shlex
import sys

import pytest
from terminals import made, replace_work

from rmtgen.cli.arguments import experiment_parser, next_command, parse, program
from rmtgen.cli.main import main


def request_of(words):
    return parse(experiment_parser("run", ""), words)


def test_it_repeats_the_configuration():
    typed = next_command(request_of(["demo", "dataset=folder:my pictures", "--json"]), ["gram"], "")
    assert shlex.split(typed) == [
        *(sys.orig_argv[0], "-m", "rmtgen", "gram", "demo"),
        "dataset=folder:my pictures",
    ]


def test_flags_and_words_in_any_case_become_words():
    typed = next_command(
        request_of(["--img-size", "32", "TEST=5", "--config", "demo"]), ["run"], ""
    )
    assert shlex.split(typed)[3:] == ["run", "demo", "img_size=32", "test=5"]


def test_under_make_it_is_a_target_with_the_fields_in_the_order_of_the_configuration(monkeypatch):
    monkeypatch.setenv("RMTGEN_MAKE", "make VENV='my env' CONFIG=demo")
    request = request_of(["demo", "TEST=5", "TRAIN=9", "DATASET=folder:my pictures", "--json"])
    assert shlex.split(next_command(request, ["run", "--stage", "gram"], "gram")) == [
        *("make", "gram", "VENV=my env", "CONFIG=demo"),
        *("DATASET=folder:my pictures", "TRAIN=9", "TEST=5"),
    ]


@pytest.mark.parametrize(
    ("on_path", "expected"), [(True, ["rmtgen"]), (False, None)], ids=["on PATH", "by its path"]
)
def test_the_installed_program_is_called_by_name_where_that_finds_it(
    tmp_path, monkeypatch, on_path, expected
):
    script = tmp_path / "rmtgen"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "argv", [str(script), "run"])
    monkeypatch.setenv("PATH", str(tmp_path) if on_path else "/nonesuch")
    assert program() == (expected or [str(script)])


@pytest.mark.parametrize(
    ("solve_from", "following"), [("features", "spectrum"), ("gram", "gram"), ("auto", "spectrum")]
)
def test_it_skips_a_stage_that_no_run_needs(words, monkeypatch, line_of, solve_from, following):
    replace_work(monkeypatch, "extract", made)
    main(["extract", *words, f"solve_from={solve_from}", "--json"])
    assert shlex.split(line_of()["next"])[3] == following


def test_it_goes_on_with_a_stage_that_one_of_several_runs_needs(words, monkeypatch, line_of):
    replace_work(monkeypatch, "extract", made)
    main(["extract", *words, "kernel=features,entk", "--json"])
    assert shlex.split(line_of()["next"])[3] == "gram"
