"""The summary: the table of best fits, its notes, numbers and names in words."""

import dataclasses
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from made_runs import leveraged, studied_run

from rmtgen.report import wording
from rmtgen.report.best_fits import best_fits, best_fits_table, fit_notes, wide_gap_notes
from rmtgen.report.run_set import RunSet, run_labels
from rmtgen.report.summary import Summary
from rmtgen.tables import wrapped

LABELS = ("tiny_net, pretrained", "tiny_net, random")


def test_the_table_of_best_fits_shows_the_numbers_in_aligned_columns(runs):
    fits = best_fits(runs).assign(
        test_risk=[0.12361, 0.5],
        test_risk_se=[0.002, np.nan],
        relative_ridge=[0.00123, 0.0],
        median_gap=[0.0042, np.nan],
    )
    heading, rule, first, second, *notes = best_fits_table(fits, LABELS).text(110).split("\n")
    assert re.split("  +", heading) == [
        "run",
        "n",
        "ridge",
        "test risk",
        "GCV",
        "LOO, 95 %",
        "acc %",
        "LOO %",
        "gap %",
        "max %",
    ]
    assert first.startswith("tiny_net, pretrained  600  1.2e-3  0.1236 ±0.0020  ")
    assert second.startswith("tiny_net, random      600       0          0.5000  ")
    assert first.split()[-2] == "0.42" and second.split()[-2] == "–"
    assert (
        set(rule) == {"-", " "} and len({len(line) for line in (heading, rule, first, second)}) == 1
    )
    assert " ".join(" ".join(notes).split()).endswith("of all fits with n >= 500")
    interval = f"{fits['loo_low'][0]:.3f}–{fits['loo_high'][0]:.3f}"
    assert first.split()[7] == interval and fits["loo_low"][0] < fits["loo"][0]


def test_where_gcv_and_loo_differ_at_the_best_fit_loo_is_the_estimate(runs):
    seen = leveraged(runs[0], gcv=0.5, loo=0.6)
    fits = best_fits([seen, runs[1]]).assign(loo=[0.6, 0.9], gcv=[0.5, 0.85])
    assert fit_notes(fits, LABELS)[0] == (
        "tiny_net, pretrained: GCV and LOO (0.6) differ at this fit: LOO is the estimate."
    )
    assert not fit_notes(fits.assign(loo=fits["gcv"] * 1.08), LABELS)[0].endswith("estimate.")
    assert not any("differ at" in note for note in fit_notes(fits.assign(loo=np.nan), LABELS))


def test_a_wide_gap_is_named_with_its_fit_and_the_warning_of_loo(runs):
    seen = leveraged(runs[0], gcv=0.375, loo=57139.0, test_risk=616584.0, relative_ridge=0.0)
    unseen = leveraged(runs[1], gcv=0.375, loo=0.36, test_risk=0.94)
    fits = best_fits([seen, unseen])
    close = list(fits["close_fits"])
    notes = wide_gap_notes(fits, LABELS)
    assert notes == [
        f"tiny_net, pretrained: {close[0]} of 12 fits within 10 %; worst at n = 600, ridge 0: "
        "GCV 0.375, LOO 5.7e4, test risk 6.2e5. LOO differs there: do not trust GCV.",
        f"tiny_net, random: {close[1]} of 12 fits within 10 %; worst at n = 600, ridge 1.0e-6: "
        "GCV 0.375, LOO 0.36, test risk 0.94.",
    ]
    lines = best_fits_table(fits, LABELS).text(110).split("\n")[4:]
    text = " ".join(" ".join(lines).split())
    assert text.endswith(" ".join(notes))


@pytest.mark.parametrize("worst", [0.2, np.nan])
def test_a_small_or_unknown_gap_needs_no_note(runs, worst):
    assert wide_gap_notes(best_fits(runs).assign(worst_gap=worst), LABELS) == []


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (wording.percentage(0.00123), "0.12"),
        (wording.percentage(0.0949), "9.5"),
        (wording.percentage(0.996), "100"),
        (wording.percentage(12.3), "1230"),
        (wording.percentage(np.nan), "–"),
        (wording.scientific(0.0), "0"),
        (wording.scientific(12.34), "1.2e1"),
        (wording.scientific(1e-8), "1.0e-8"),
        (wording.scientific(np.nan), "–"),
        (wording.number(np.inf), "–"),
        (wording.compact(0.37485), "0.375"),
        (wording.compact(616584.1), "6.2e5"),
        (wording.compact(0.00012), "1.2e-4"),
        (wording.compact(0.0), "0"),
        (wording.compact(np.nan), "–"),
        (wording.number(1234.56), "1235"),
        (wording.power_of_ten(0.0), "0"),
        (wording.power_of_ten(1e-8), "10⁻⁸"),
        (wording.power_of_ten(2.1e-5), "2×10⁻⁵"),
        (wording.power_of_ten(300.0), "3×10²"),
        (wording.gapped("Seen.", 0), "Seen."),
        (wording.gapped("Seen.", 1), "Seen. 1 point is a gap: not finite or not positive."),
        (
            wording.gapped("Seen.", 2000),
            "Seen. 2,000 points are gaps: not finite or not positive.",
        ),
    ],
)
def test_numbers_in_words(shown, expected):
    assert shown == expected


def test_labels_say_what_differs(runs):
    pretrained, random = runs
    assert run_labels(runs) == ["tiny_net, pretrained", "tiny_net, random"]
    other = dataclasses.replace(random, dataset="b")
    assert run_labels([pretrained, other]) == [
        "tiny_net, pretrained, blobs",
        "tiny_net, random, b",
    ]
    sketched = dataclasses.replace(random, kernel="entk, sketched")
    assert run_labels([sketched]) == ["tiny_net, random, entk, sketched"]
    alike = dataclasses.replace(pretrained, init="random")
    assert run_labels([alike, random]) == ["tiny-pretrained-1a2b", "tiny-random-3c4d"]


def test_data_sets_have_the_end_of_their_path_as_name(runs):
    given = [
        "folder:../shared/data/cifar100.tar",
        "mnist5k",
        "hfds/beans",
        "folder:/data/birds/",
        "folder:one",
    ]
    short = ["cifar100", "mnist5k", "beans", "birds", "one"]
    assert wording.dataset_names(given) == dict(zip(given, short, strict=True))
    twice = ["folder:a/x.tar", "folder:b/x.tar", "mnist5k", "mnist5k"]
    assert wording.dataset_names(twice) == {name: name for name in twice}
    first, second = (
        [dataclasses.replace(run, dataset=name) for run, name in zip(runs, names, strict=True)]
        for names in (("folder:a/x.tar", "folder:a/y.tar"), ("folder:a/x.tar", "folder:b/x.tar"))
    )
    assert run_labels(first) == ["tiny_net, pretrained, x", "tiny_net, random, y"]
    assert run_labels(second)[1] == "tiny_net, random, folder:b/x.tar"


def test_the_summary_is_kept_as_json_and_shown_again_without_pandas(tmp_path):
    summary = RunSet.of([studied_run("a", "random"), studied_run("b", "pretrained")]).summary
    assert [table.headings[0] for table in summary.tables] == ["run", "data set", "data set"]
    path = tmp_path / "summary.json"
    path.write_text(json.dumps(summary.as_json()), "utf-8")
    assert Summary.from_json(json.loads(path.read_text("utf-8"))) == summary
    code = (
        "import json, sys; from pathlib import Path; from rmtgen.report.summary import Summary;"
        "print(Summary.from_json(json.loads(Path(sys.argv[1]).read_text('utf-8'))).text(60));"
        "sys.exit(any(name in sys.modules for name in ('numpy', 'pandas', 'torch', 'jinja2')))"
    )
    environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, check=True, env=environment
    )
    assert done.stdout.decode() == summary.text(60) + "\n"
    assert max(map(len, summary.text(60).splitlines())) <= 60


def test_a_run_without_theory_has_one_table_and_no_notes(runs):
    summary = RunSet.of(runs).summary
    assert len(summary.tables) == 1 and summary.notes == ()
    assert (
        summary.text()
        == "\n".join(wrapped(summary.answers, None)) + "\n\n" + summary.tables[0].text()
    )


def test_a_report_of_a_version_without_answers_is_shown():
    summary = RunSet.of([studied_run("a", "random")]).summary
    stored = summary.as_json()
    del stored["answers"]
    assert Summary.from_json(stored) == dataclasses.replace(summary, answers=())
