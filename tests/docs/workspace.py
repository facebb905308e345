"""Commands of the pages, with sizes that a test can afford, in this interpreter."""

import re
import shlex
import subprocess

from pages import EXPERIMENTS, ROOT

from rmtgen.cli.main import main

SMALL = ("TEST=24", "TRIALS=1", "IMG_SIZE=32", "BATCH_SIZE=24", "TILE=32")
RUN_SIZES, DEMO_SIZES = ("TRAIN=48", "SIZES=24,48"), ("TRAIN=120", "SIZES=60,120")


def run(*words, **options):
    """Run a program to success; what it prints."""
    done = subprocess.run(words, capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, done.stderr
    return done.stdout


def planned(words):
    """The words after `rmtgen` of each command that make or rmtgen would run."""
    if words[0] == "rmtgen":
        return [list(words[1:])]
    assert words[0] == "make"
    said = run("make", "-n", "--no-print-directory", *words[1:], cwd=ROOT)
    lines = [shlex.split(line) for line in said.splitlines() if re.match(r"\S+/rmtgen ", line)]
    return [line[1:] for line in lines]


def rmtgen(words):
    """Call `rmtgen`, which must succeed."""
    assert main(list(words)) == 0, words


def _unwanted(words):
    """Small sizes that do not go with features: a division; pixels where there is no network."""
    images = any(word.lower().startswith("model=") for word in words)
    return ("TEST=",) if images else ("TEST=", "IMG_SIZE=")


def run_small(words, *more):
    """Run a command of make or rmtgen with small sizes, a whole run up to its risks."""
    lines = planned(words)
    assert lines
    for command, *rest in lines:
        sizes = (*SMALL, *more) if command in EXPERIMENTS else more[-1:]
        if any("features:" in word for word in rest):
            sizes = [word for word in sizes if not word.startswith(_unwanted(rest))]
        short = ("--stage", "risk") if command == "run" and "--stage" not in rest else ()
        rmtgen([command, *rest, *sizes, *short])
