"""The figures of a study of arrays."""

import numpy as np
import pytest

import rmtgen
from rmtgen.report import study_figures


@pytest.mark.filterwarnings("ignore::rmtgen.errors.RmtgenWarning")
def test_a_study_of_a_gram_matrix_has_the_figures_of_a_report(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((260, 300)) * np.arange(1, 301) ** -0.7
    gram, targets = features @ features[:200].T, features[:, :3].sum(axis=1)
    study = rmtgen.study(
        gram[:200],
        targets[:200],
        test_gram=gram[200:],
        test_targets=targets[200:],
        sizes=[25, 50, 100, 200],
        ridges=[0.01, 0.1, 1.0],
    )
    found = study_figures(study, tmp_path / "figures", name="mine")
    assert {"learning", "theories", "alignment", "law"} & {one.chart.stem for one in found}
    for one in found:
        assert all(path.is_file() for path in one.paths)
    assert any("mine, N = 200" in one.svg.read_text() for one in found)
