"""What the stages leave, against plain NumPy and from the files alone."""

import json

import h5py
import numpy as np
import pandas as pd
import pytest

from rmtgen.runs.graph import RUN_STAGES, STAGES
from rmtgen.runs.manifest import Manifest


def test_every_stage_leaves_what_the_design_says(finished):
    (run,) = (finished[0] / "runs").iterdir()
    assert {path.name for path in run.iterdir()} == {
        *("extract.json", "features.h5", "features", "gram.json", "gram.h5", "gram"),
        *("spectrum.json", "spectrum.h5", "risk.json", "risk.csv", "curve.csv", ".lock"),
        *("theory.json", "theory.csv", "theory.h5"),
        *(f"{table}.csv-metadata.json" for table in ("risk", "curve", "theory")),
    }
    with h5py.File(run / "features.h5") as features, h5py.File(run / "gram.h5") as file:
        rows = np.concatenate([features["train"], features["test"]]).astype(float)
        np.testing.assert_allclose(file["gram"], rows @ rows[:96].T, rtol=1e-12)
    manifest = json.loads((run / "extract.json").read_text())
    drawn = manifest["details"]["train_indices"]
    assert len(set(drawn)) == 96
    assert drawn != sorted(drawn)  # a shuffle, not a prefix


def test_the_graph_names_the_files_of_every_stage(finished):
    """Outputs lie under the names that the stage declares; a table brings its description."""
    (run,), (report,) = (finished[0] / "runs").iterdir(), (finished[0] / "reports").iterdir()
    for stage, declared in STAGES.items():
        folder = run if stage in RUN_STAGES else report
        names = {*declared.files, *(f"{name}-metadata.json" for name in declared.files)}
        outputs = Manifest.read(folder, stage).outputs
        tops = {name if "/" not in name else f"{name.split('/')[0]}/" for name in outputs}
        assert tops <= names
        assert set(declared.files) <= tops
    claimed = {name.rstrip("/") for stage in RUN_STAGES for name in STAGES[stage].files}
    besides = {f"{stage}.json" for stage in RUN_STAGES} | {".lock"}
    there = {path.name for path in run.iterdir() if not path.name.endswith("-metadata.json")}
    assert there == claimed | besides


def test_risk_holds_a_plain_ridge_regression(finished):
    """One row of risk.csv against NumPy's solver, from the files alone."""
    (run,) = (finished[0] / "runs").iterdir()
    table = pd.read_csv(run / "risk.csv")
    assert len(table) == (2 + 2 + 1) * 6
    with h5py.File(run / "gram.h5") as file, h5py.File(run / "features.h5") as features:
        gram_matrix, labels, test_labels = (
            file["gram"][()],
            features["train_labels"][()],
            features["test_labels"][()],
        )
    targets, test_targets = np.eye(3)[labels] - 1 / 3, np.eye(3)[test_labels] - 1 / 3
    train, test = gram_matrix[:96], gram_matrix[96:]
    for row in table[(table["n"] == 96) & (table["relative_ridge"] > 0)].itertuples():
        ridge = row.relative_ridge * np.trace(train) / 96
        assert row.ridge == pytest.approx(ridge, rel=1e-12)
        inverse = np.linalg.inv(train + 96 * ridge * np.eye(96))
        weights = inverse @ targets
        assert row.gcv == pytest.approx(96 * (weights**2).sum() / np.trace(inverse) ** 2, rel=1e-6)
        assert row.test_risk == pytest.approx(
            ((test @ weights - test_targets) ** 2).sum(axis=1).mean(), rel=1e-6
        )
        assert row.loo == pytest.approx(
            ((weights / np.diag(inverse)[:, None]) ** 2).sum(axis=1).mean(), rel=1e-6
        )
        assert row.test_error == pytest.approx(((test @ weights).argmax(1) != test_labels).mean())


def test_spectra_belong_to_the_same_subsets(finished):
    (run,) = (finished[0] / "runs").iterdir()
    table = pd.read_csv(run / "risk.csv").set_index(["n", "trial", "relative_ridge"])
    with h5py.File(run / "spectrum.h5") as file:
        assert len(file) == 5
        for name, group in file.items():
            n, trial = int(name[1:9]), int(name[-3:])
            values, power = group["eigenvalues"][()], (group["coefficients"][()] ** 2).sum(axis=1)
            row = table.loc[(n, trial, 10.0)]
            weights = 1 / (values + n * row["ridge"])
            null = n - len(values)
            trace = weights.sum() + null / (n * row["ridge"])
            energy = (weights**2 * power).sum() + group["null_energy"][()] / (n * row["ridge"]) ** 2
            assert row["gcv"] == pytest.approx(n * energy / trace**2, rel=1e-8)


def test_the_report_is_one_file_that_asks_nothing_of_the_network(finished):
    (folder,) = (finished[0] / "reports").iterdir()
    page = (folder / "report.html").read_text()
    assert page.count('<figure class="chart">') >= 4
    assert "test_resnet" in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert {path.suffix for path in (folder / "figures").iterdir()} == {".svg", ".png", ".pdf"}
