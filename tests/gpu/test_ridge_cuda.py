"""Modes and ridge paths on CUDA against the CPU."""

import numpy as np
import pytest
import torch
from cases import CASES, WIDE

from rmtgen.linalg.modes import feature_modes, gram_modes, gram_modes_batch
from rmtgen.linalg.verified import symmetric_eigh
from rmtgen.ridge import ridge_path, ridge_path_features, ridge_path_stored
from rmtgen.store.gram_store import GramLayout, GramStore

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(), reason="needs a CUDA device: torch.cuda.is_available() is False"
)

cases = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
intercepts = pytest.mark.parametrize("intercept", [False, True], ids=["plain", "intercept"])


def cuda(array):
    return torch.from_numpy(array).cuda()


@cases
@intercepts
def test_modes_equal_those_of_the_cpu(case, intercept):
    for solve, data in ((gram_modes, case.gram), (feature_modes, case.features)):
        known, found = solve(data, intercept=intercept), solve(cuda(data), intercept=intercept)
        assert found.vectors.is_cuda
        assert found.null_dim == known.null_dim
        torch.testing.assert_close(found.values.cpu(), known.values, rtol=1e-10, atol=0)
        projector = (
            found.vectors @ found.vectors.mT
        ).cpu()  # vectors are free in sign, and within repeated eigenvalues
        torch.testing.assert_close(projector, known.vectors @ known.vectors.mT, rtol=0, atol=1e-10)


@pytest.mark.parametrize(("memory", "calls"), [(2**30, 1), (2 * 32 * 16**2, 3), (0, 5)])
def test_as_many_problems_a_call_as_memory_holds(monkeypatch, memory, calls):
    eigh, seen = torch.linalg.eigh, []

    def counted(batch):
        seen.append(len(batch))
        return eigh(batch)

    monkeypatch.setattr(torch.linalg, "eigh", counted)
    batch = cuda(np.stack([WIDE.gram + shift * np.eye(16) for shift in range(5)]))
    systems = symmetric_eigh(batch, memory=memory)
    assert (sum(seen), len(seen)) == (5, calls)
    for shift, system in enumerate(systems):
        torch.testing.assert_close(
            system.values.cpu(), systems[0].values.cpu() + shift, rtol=1e-11, atol=1e-12
        )


def test_a_batch_of_larger_problems_passes_its_checks():
    features = torch.randn(
        4, 600, 900, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    ).cuda()
    for modes in gram_modes_batch(features @ features.mT, intercept=True):
        assert modes.null_dim == 0
        assert max(modes.residual, modes.orthogonality) < 1e-12


@cases
@intercepts
def test_ridge_paths_equal_those_of_the_cpu(case, intercept):
    options = {
        "ridges": [0.0, *case.ridges()],
        "sizes": [8, len(case.features)],
        "intercept": intercept,
    }
    for solve, data, name in (
        (ridge_path, "gram", "test_gram"),
        (ridge_path_features, "features", "test_features"),
    ):
        train, test = getattr(case, data), getattr(case, name)
        known = solve(
            train, case.targets, **{name: test}, test_targets=case.test_targets, **options
        )
        found = solve(
            cuda(train), case.targets, **{name: test}, test_targets=case.test_targets, **options
        )
        for column in known:
            np.testing.assert_allclose(
                found[column], known[column], rtol=1e-8, atol=1e-20, err_msg=f"{data} {column}"
            )


@intercepts
@pytest.mark.parametrize("solver", ["nested", "banded", "primal"])
def test_every_solver_runs_on_the_device_of_its_kernel(solver, intercept):
    rng = np.random.default_rng(0)
    features, tests = (rng.standard_normal((count, 40)) for count in (300, 20))
    targets, test_targets = features[:, :2] + 0.1, tests[:, :2]
    options = {
        "ridges": [1e-2, 1.0],
        "sizes": [100, 300],
        "intercept": intercept,
    }
    known, found = (
        ridge_path_features(
            move(features),
            targets,
            test_features=move(tests),
            test_targets=test_targets,
            **options,
            solver=s,
        )
        for move, s in ((torch.from_numpy, "eigen"), (cuda, solver))
    )
    np.testing.assert_allclose(found, known, rtol=1e-8)


def test_estimates_on_the_device(tmp_path):
    rng = np.random.default_rng(0)
    features = rng.standard_normal((260, 300))
    layout = GramLayout(240, 20, "float64", 64)
    store = GramStore.create(tmp_path, layout)
    for tile in layout.tiles():
        rows, columns = (
            slice(tile.row_start, tile.row_stop),
            slice(tile.column_start, tile.column_stop),
        )
        store.write(tile, features[rows] @ features[columns].T)
    options = {"ridges": [1.0], "test_targets": features[240:, :2], "solver": "matrix_free"}
    known, found = (
        ridge_path_stored(store, features[:240, :2], **options, device=device)
        for device in ("cpu", "cuda")
    )
    np.testing.assert_allclose(
        found.drop(columns="residual"), known.drop(columns="residual"), rtol=1e-3
    )
