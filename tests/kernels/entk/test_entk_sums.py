"""The double sums of a block, in torch and compiled, against loops; products and cores of a CPU."""

import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rmtgen.kernels.entk import cpu, rules, sums
from rmtgen.kernels.entk.divisions import pieces, spans
from rmtgen.kernels.entk.rules import Contract, Shift
from rmtgen.kernels.entk.sites import Site, Window

RANDOM = np.random.default_rng(0)


@st.composite
def windows(draw):
    def axis(low, high):
        return draw(st.integers(low, high)), draw(st.integers(low, high))

    window = Window(axis(1, 6), axis(1, 4), axis(1, 3), axis(0, 3), axis(1, 2))
    assume(min(window.out) >= 1 and all(window.taps))
    return window


def products(window, rows, columns, dtype):
    """Random products between the input positions and between the output positions."""
    t_in, t = np.prod(window.grid), np.prod(window.out)
    return (
        torch.from_numpy(RANDOM.standard_normal((rows, at, at, columns))).to(dtype)
        for at in (t_in, t)
    )


def meetings(window):
    """Pairs of output and input position, for each offset of the window, written plainly."""
    (height, width), (down, across) = window.out, window.stride
    for top in range(window.kernel[0]):
        for left in range(window.kernel[1]):
            found = []
            for y in range(height):
                for x in range(width):
                    v = y * down + top * window.dilation[0] - window.padding[0]
                    u = x * across + left * window.dilation[1] - window.padding[1]
                    if 0 <= v < window.grid[0] and 0 <= u < window.grid[1]:
                        found.append((y * width + x, v * window.grid[1] + u))
            yield found


def by_loops(window, inputs, grads):
    inputs, grads = inputs.double().numpy(), grads.double().numpy()
    found = np.zeros((inputs.shape[0], inputs.shape[3]))
    for met in meetings(window):
        for out, at in met:
            for other, beside in met:
                found += grads[:, out, other] * inputs[:, at, beside]
    return found


def compiled_sum(window):
    if sums._machine_code() is None:
        pytest.skip("needs numba")
    return sums._compiled_sum(window)


@settings(max_examples=60, deadline=None)
@given(windows(), st.integers(1, 3), st.integers(1, 5), st.sampled_from(["torch", "compiled"]))
def test_the_sum_over_taps_is_that_of_loops(window, rows, columns, way):
    inputs, grads = products(window, rows, columns, torch.float64)
    expected = by_loops(window, inputs, grads)
    kernel = torch.ones(rows, columns + 2, dtype=torch.float64)
    sums_of = compiled_sum(window) if way == "compiled" else sums.double_sum(window, 0, "cpu")
    sums_of(kernel[:, 1:-1], inputs, grads)
    np.testing.assert_allclose(kernel[:, 1:-1] - 1, expected, rtol=1e-11, atol=1e-11)
    assert (kernel[:, [0, -1]] == 1).all()


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 70), st.integers(1, 3), st.integers(1, 5))
def test_the_sum_of_products_of_patches_is_that_of_numpy(positions, rows, columns):
    inputs, grads = products(Window((positions, 1)), rows, columns, torch.float64)
    expected = np.einsum("itsj,itsj->ij", inputs, grads)
    for way in (compiled_sum(None), sums.double_sum(None, 0, "cpu")):
        kernel = torch.zeros(rows, columns, dtype=torch.float64)
        way(kernel, inputs.clone(), grads.clone())
        np.testing.assert_allclose(kernel, expected, rtol=1e-11, atol=1e-11)


@pytest.mark.parametrize("window", [None, Window((4, 4), (3, 3), (1, 1), (1, 1))])
def test_compiled_sums_of_float32_are_those_of_torch_to_rounding(window):
    inputs, grads = products(window or Window((4, 4)), 6, 33, torch.float32)
    expected = torch.zeros(6, 33, dtype=torch.float64)
    sums.double_sum(window, 0, "cpu")(expected, inputs.double(), grads.double())
    kernel = torch.zeros(6, 33, dtype=torch.float64)
    compiled_sum(window)(kernel, inputs, grads)
    assert (kernel - expected).norm() < 3e-7 * expected.norm()


SITES = {
    "padded": Site(Window((4, 3), (3, 3), (1, 1), (1, 1)), 5, 6, 1, (6, 5, 3, 3)),
    "strided": Site(Window((5, 4), (3, 3), (2, 2), (1, 1)), 5, 6, 1, (6, 5, 3, 3)),
    "dilated": Site(Window((5, 5), (2, 2), (1, 1), (0, 0), (2, 2)), 5, 6, 1, (6, 5, 2, 2)),
    "pixel": Site(Window((1, 1)), 5, 6, 1, (6, 5)),
}


def kernel_of(rule, site, rows, columns, symmetric, workspace=2**24):
    kernel = torch.zeros(len(rows[0]), len(columns[0]), dtype=torch.float64)
    rule.add(kernel, site, rows, columns, workspace, symmetric)
    return kernel.tril() if symmetric else kernel


@pytest.mark.parametrize("rule", [Contract(), Shift()], ids=["contract", "shift"])
@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "rectangular"])
@pytest.mark.parametrize("site", SITES.values(), ids=SITES)
def test_cores_and_compiled_sums_do_not_change_a_kernel(rule, symmetric, site, monkeypatch):
    """Small blocks of several bands, on three cores, with compiled sums where numba is there."""
    if not rule.applies(site):
        pytest.skip("a window of one tap")
    generator = torch.Generator().manual_seed(0)
    sides = [
        tuple(
            torch.randn(n, *shape, generator=generator)
            for shape in ((site.t_in, site.c_in), (site.t, site.c_out))
        )
        for n in (60, 35)
    ]
    rows, columns = sides[0], sides[0] if symmetric else sides[1]
    exact = kernel_of(
        rule, site, *(tuple(side.double() for side in both) for both in (rows, columns)), symmetric
    )
    before = torch.get_num_threads()
    try:
        found = []
        for threads in (1, 3):
            monkeypatch.setattr(torch, "get_num_threads", lambda threads=threads: threads)
            monkeypatch.setattr(sums, "WORTH", 1)
            found.append(kernel_of(rule, site, rows, columns, symmetric, workspace=2**15))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*found)
    assert (found[0] - exact).norm() < 5e-7 * exact.norm()


def test_tasks_run_once_each_and_side_by_side(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    meet, done = threading.Barrier(3, timeout=20), []

    def work(task):
        meet.wait()  # three at once, or it breaks
        assert not torch.is_grad_enabled()
        done.append(task)

    try:
        cpu.side_by_side(work, range(9), 100)
        assert sorted(done) == list(range(9))
        with pytest.raises(ZeroDivisionError):
            cpu.side_by_side(lambda task: 1 / (task - 4), range(9), 3)
        own = set()
        cpu.side_by_side(lambda task: own.add(threading.get_ident()), range(9), 1)
        assert own == {threading.get_ident()}
    finally:
        monkeypatch.undo()
        torch.set_num_threads(before)


def test_the_threads_of_torch_are_as_before():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        cpu.side_by_side(lambda task: torch.ones(3).sum(), range(4), 2)
        assert torch.get_num_threads() == 2
        seen = []
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert seen == [2]
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "m", "k"), [(3, 4, 5), (65, 33, 130), (0, 3, 2), (2, 0, 3), (2, 3, 0)]
)
def test_a_product_is_that_of_float64(n, m, k, dtype):
    left = torch.randn(n, 2 * k, dtype=dtype)[:, ::2]
    right = torch.randn(k, m, dtype=dtype).T
    exact = left.double() @ right.double().T
    error = torch.finfo(dtype).eps * max(1, k)
    torch.testing.assert_close(
        cpu.multiplied(left, right).double(), exact, rtol=error, atol=error * 4
    )


@pytest.mark.parametrize("symmetric", [True, False], ids=["symmetric", "rectangular"])
@pytest.mark.parametrize("width", [1, cpu.DEEP, cpu.HELD * cpu.DEEP + cpu.DEEP + 7])
def test_products_of_panels_are_those_of_float64(symmetric, width, monkeypatch):
    """Strided matrices, tiles smaller than the pieces, and a last panel that is not full."""
    monkeypatch.setattr(cpu, "TILE", 50)
    monkeypatch.setattr(rules, "by_onednn", lambda matrix: True)
    monkeypatch.setattr(cpu, "_onednn", lambda left, right: left @ right.T)
    left, right = (torch.randn(n, width + 3)[:, 2:-1] for n in (150, 70))
    right = left if symmetric else right
    kernel = torch.ones(150, len(right), dtype=torch.float64)
    rules.multiply(kernel, left, right, symmetric=symmetric)
    exact = left.double() @ right.double().T
    found = kernel - 1
    if symmetric:
        found, exact = found.tril(), exact.tril()
    assert (found - exact).norm() < 4e-7 * exact.norm()


def test_the_room_of_panels_holds_narrower_matrices_too():
    room = cpu.Panels(torch.empty(0), 3, 10, 4)
    for width in (10, 6, 4, 1):
        matrix = torch.randn(3, width)
        panels = room.fill(matrix)
        assert all(panel.is_contiguous() and panel.shape[1] <= 4 for panel in panels)
        assert torch.equal(torch.cat(panels, dim=1), matrix)


def test_without_a_right_product_of_onednn_it_is_that_of_torch(monkeypatch):
    def wrong(left, right):
        return left @ right.T + 1

    def missing(left, right):
        raise AttributeError("no such operation")

    left, right = torch.randn(5, 4), torch.randn(3, 4)
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(cpu, "_vendor", lambda: "AuthenticAMD")
    for broken in (wrong, missing):
        cpu._onednn_is_faster.cache_clear()
        monkeypatch.setattr(cpu, "_onednn", broken)
        assert torch.equal(cpu.multiplied(left, right), left @ right.T)
    cpu._onednn_is_faster.cache_clear()


@pytest.mark.parametrize(("told", "size"), [("512K\n", 2**19), ("nonsense", 2**20), (None, 2**20)])
def test_the_cache_of_a_core_is_read_from_the_system(told, size, tmp_path, monkeypatch):
    place = tmp_path / "size"
    if told is not None:
        place.write_text(told)
    monkeypatch.setattr(cpu, "_CACHE", place)
    cpu.cache_bytes.cache_clear()
    assert cpu.cache_bytes() == size
    cpu.cache_bytes.cache_clear()


def test_without_numba_sums_are_those_of_torch(monkeypatch):
    monkeypatch.setitem(sys.modules, "rmtgen.kernels.entk.compiled", None)
    monkeypatch.delattr("rmtgen.kernels.entk.compiled", raising=False)
    sums._machine_code.cache_clear()
    assert sums._machine_code() is None
    sums._machine_code.cache_clear()


def test_numba_that_fails_is_told_once_and_left(monkeypatch):
    class Broken:
        def add_products(self, *arrays):
            raise RuntimeError("no locator available")

    monkeypatch.setattr("rmtgen.kernels.entk.compiled", Broken(), raising=False)
    monkeypatch.setitem(sys.modules, "rmtgen.kernels.entk.compiled", Broken())
    sums._machine_code.cache_clear()
    with pytest.warns(RuntimeWarning, match="no locator available.*Repair numba") as told:
        for _ in range(2):
            way = sums.double_sum(None, 1e12, "cpu")
    assert len(told) == 1
    kernel = torch.zeros(1, 1, dtype=torch.float64)
    way(kernel, torch.full((1, 2, 2, 1), 2.0), torch.full((1, 2, 2, 1), 3.0))
    assert kernel.item() == 24
    sums._machine_code.cache_clear()


@given(st.integers(1, 600), st.booleans())
def test_pieces_cover_a_kernel_or_its_lower_triangle(n, symmetric):
    seen = np.zeros((n, n if symmetric else 7), dtype=int)
    for rows, columns in pieces(torch.empty(seen.shape, dtype=torch.float64), symmetric):
        for some in spans(rows, 100):
            seen[some, columns] += 1
    assert seen.max() == 1
    assert (np.tril(seen) if symmetric else seen).sum() == (
        n * (n + 1) // 2 if symmetric else 7 * n
    )
