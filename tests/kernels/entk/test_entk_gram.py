"""The whole kernel: symmetric, positive, equal for every batch, tile and budget; errors; plan."""

import copy
import gc
import subprocess
import sys
import weakref
from pathlib import Path

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from reference import tangent_kernel

from rmtgen import entk_gram, entk_plan, load_backbone
from rmtgen.errors import CapacityError, NumericalError, UsageError
from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk.layers import BatchNorm
from rmtgen.kernels.entk.tiles import BlockCache

PIXELS = 24


@pytest.fixture(scope="module")
def model():
    return load_backbone(
        "test_resnet", init="random", head="random", img_size=PIXELS
    ).model.double()


@pytest.fixture(scope="module")
def images():
    return torch.randn(
        13, 3, PIXELS, PIXELS, dtype=torch.float64, generator=torch.Generator().manual_seed(0)
    )


@pytest.fixture(scope="module")
def kernel(model, images):
    return tangent_kernel(model, images).detach()


def close(found, expected):
    torch.testing.assert_close(
        found, expected, rtol=1e-11, atol=1e-11 * expected.abs().max().item()
    )


def test_symmetric_to_the_bit_and_positive_semidefinite(model, images):
    for dtype in (torch.float32, torch.float64):
        found = entk_gram(model, images, dtype=dtype)
        assert torch.equal(found, found.T)
        values = torch.linalg.eigvalsh(found.double())
        assert values[0] >= -10 * torch.finfo(dtype).eps * values[-1]


@settings(max_examples=12)
@given(
    grain=st.integers(1, 13),
    batch=st.integers(1, 13),
    capacity=st.integers(2, 30),
    workspace=st.sampled_from([10**5, 10**8]),
)
@example(grain=7, batch=3, capacity=14, workspace=1)  # one channel at a time: the slowest by far
def test_the_same_for_every_batch_tile_and_budget(
    model, images, kernel, grain, batch, capacity, workspace
):
    entk = Entk(model, images)
    entk.grain, entk.batch, entk.workspace = grain, batch, workspace
    entk.capacity = entk._blocks.capacity = capacity
    close(entk.block(range(13), range(13)), kernel)
    close(entk.block(range(2, 7), range(5, 13)), kernel[2:7, 5:13])


@settings(max_examples=6)
@given(st.permutations(range(13)))
def test_permuting_samples_permutes_the_kernel(model, images, kernel, order):
    close(entk_gram(model, images[list(order)]), kernel[order][:, order])


def test_rows_against_columns_and_data_sets_of_pairs(model, images, kernel):
    pairs = torch.utils.data.TensorDataset(images[:4], torch.arange(4))
    close(entk_gram(model, pairs, list(images[4:])), kernel[:4, 4:])


def test_one_sample_and_a_sample_twice(model, images, kernel):
    close(entk_gram(model, images[:1]), kernel[:1, :1])
    twice = entk_gram(model, images[[0, 0]])
    close(twice, kernel[0, 0].expand(2, 2))


def test_scaling_the_output_scales_the_kernel(model, images, kernel):
    class Scaled(torch.nn.Module):
        def __init__(self, inner):
            super().__init__()
            self.inner = inner

        def forward(self, x):
            return -3 * self.inner(x)

    close(entk_gram(Scaled(model).eval(), images), 9 * kernel)


def test_the_head_alone_is_the_feature_kernel_plus_one(images):
    whole = load_backbone(
        "test_resnet", init="random", head="random", img_size=PIXELS
    ).model.double()
    whole.backbone.requires_grad_(False)
    features = whole.backbone(images).detach()
    close(entk_gram(whole, images), features @ features.T + 1)


@pytest.mark.parametrize(
    "by", ["layer", lambda name: name.split(".")[1][:6]], ids=["layer", "function"]
)
def test_parts_by_parameters_are_those_of_the_parameters_alone_and_add_up(
    model, images, kernel, by
):
    parts = entk_gram(model, images, by=by)
    close(sum(parts.values()), kernel)
    group = (lambda name: name.rpartition(".")[0]) if by == "layer" else by
    assert set(parts) == {group(name) for name, _ in model.named_parameters()}
    for chosen in list(parts)[::3]:
        alone = copy.deepcopy(model)
        for name, parameter in alone.named_parameters():
            parameter.requires_grad_(group(name) == chosen)
        torch.testing.assert_close(
            parts[chosen], tangent_kernel(alone, images).detach(), rtol=1e-9, atol=1e-14
        )


class ThreeHeads(torch.nn.Module):
    """Three outputs, with parameters that operations of each kind and torch.func serve."""

    def __init__(self, body, dim):
        super().__init__()
        self.body, self.gain, self.head = (
            body,
            torch.nn.Parameter(torch.rand(dim)),
            torch.nn.Linear(dim, 3),
        )

    def forward(self, x):
        return self.head(self.body(x) * self.gain)


@pytest.mark.parametrize("factored", [True, False])
@pytest.mark.parametrize("fallback", [True, False])
def test_parts_by_output_are_the_kernels_of_the_outputs(
    model, images, monkeypatch, factored, fallback
):
    torch.manual_seed(0)
    if fallback:  # a wrong rule is found out, and its parameters left to torch.func
        honest = BatchNorm.per_sample
        monkeypatch.setattr(
            BatchNorm,
            "per_sample",
            lambda self, grad: ((one, 1.01 * g) for one, g in honest(self, grad)),
        )
    heads = ThreeHeads(model.backbone, model.head.in_features).double().eval()
    entk = Entk(heads, images, by="output", memory=10**9 if factored else 4 * 10**6)
    assert ("body.bn1.weight" in entk.passes.capture.fallback) == fallback
    assert (entk.capacity >= len(images)) == factored
    parts = entk.blocks(range(13), range(13))
    assert list(parts) == ["0", "1", "2"]
    for output, found in enumerate(parts.values()):
        close(
            found, tangent_kernel(heads, images, lambda out, output=output: out[:, output]).detach()
        )


def test_a_split_that_is_none_is_refused(model, images):
    with pytest.raises(
        UsageError, match="by must be None, 'layer', 'output' or a function .*, got 'stage'"
    ):
        entk_gram(model, images, by="stage")
    with pytest.raises(UsageError, match="got output=0 too"):
        entk_gram(model, images, by="output", output=0)


def test_a_low_budget_tiles_and_a_lower_one_says_what_it_needs(model, images, kernel):
    needed = _least(model, images)
    entk = Entk(model, images, memory=needed + 2**20)
    assert entk.capacity < 13
    close(entk.block(range(13), range(13)), kernel)
    with pytest.raises(
        UsageError,
        match=r"memory must hold two samples and one pass: expected at least \d+MiB, got 0MiB",
    ):
        entk_gram(model, images, memory="20KiB")


def _least(model, images):
    entk = Entk(model, images)
    return 2 * entk.layout.entries * 8 + 2 * entk.image_bytes


def test_out_of_memory_never_changes_a_bit(model, images, monkeypatch):
    from rmtgen.kernels.entk import kernel as module

    options = {"device": "cpu", "memory": 2 * _least(model, images)}
    expected, honest = entk_gram(model, images, **options), module.tile
    failures = iter([True])

    def scarce(*args):
        if next(failures, False):
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")
        return honest(*args)

    monkeypatch.setattr(module, "tile", scarce)
    assert torch.equal(entk_gram(model, images, **options), expected)
    assert next(failures, None) is None


def test_out_of_memory_twice_is_told_with_the_way_out(model, images, monkeypatch):
    from rmtgen.kernels.entk import kernel as module

    def scarce(*_):
        raise torch.OutOfMemoryError("full.")

    monkeypatch.setattr(module, "tile", scarce)
    message = r"memory must fit into cpu: got 4096MiB, and full\. Pass memory='2048MiB', or less"
    with pytest.raises(CapacityError, match=message):
        entk_gram(model, images, device="cpu")


@pytest.mark.parametrize("place", ["image", "weight", "gradient"])
def test_what_is_not_finite_is_named(model, images, place):
    broken, pictures = copy.deepcopy(model), images.clone()
    if place == "image":
        pictures[5, 0, 0, 0] = float("nan")
        message = "the output of image 5 is not, from the transformed image on"
    elif place == "weight":
        with torch.no_grad():
            broken.backbone.layer2[0].conv1.weight[0, 0] = float("inf")
        message = r"the output of image 0 is not, from layer backbone\.layer2\.0\.conv1 on"
    else:

        class Root(torch.nn.Module):
            def __init__(self):
                super().__init__()
                self.lin = torch.nn.Linear(3, 1)

            def forward(self, x):
                return (
                    (
                        self.lin(x.mean(dim=(2, 3)))
                        * (x.amax(dim=(1, 2, 3)) != x.amax(dim=(1, 2, 3)))[:, None]
                    )
                    .abs()
                    .sqrt()
                )

        broken, message = (
            Root().double().eval(),
            "the gradients of image 0 are not, though its output is",
        )
    with pytest.raises(NumericalError, match=message):
        entk_gram(broken, pictures)


def test_bad_input_is_refused(model, images):
    with pytest.raises(UsageError, match="at least one image, got 0"):
        entk_gram(model, images[:0])
    with pytest.raises(
        UsageError, match=r"dtype must be torch.float32 or torch.float64, got torch.float16"
    ):
        entk_gram(model, images, dtype=torch.float16)
    with pytest.raises(UsageError, match="unknown unit 'Gigs'"):
        entk_gram(model, images, memory="4Gigs")
    with pytest.raises(UsageError, match="device must be one that torch knows"):
        entk_gram(model, images, device="gpu")


def test_recent_blocks_give_way_but_never_the_partner():
    made = []
    cache = BlockCache(3)
    a, b, c, d = (0, 1), (1, 2), (2, 3), (3, 4)
    for span, partner in ((a, b), (b, a), (c, a), (d, c), (a, d), (b, d)):
        assert cache.get(span, lambda own: made.append(own) or own, partner=partner) == span
    assert made == [
        a,
        b,
        c,
        d,
        b,
    ]  # d took the place of b: used last, and not its partner; b that of a


def test_a_kernel_gives_its_memory_back_without_the_garbage_collector(model, images):
    gc.collect()
    gc.disable()
    try:
        kernel = Entk(model, images)
        kernel.block(range(13), range(13))
        seen = weakref.ref(kernel)
        del kernel
        assert seen() is None
    finally:
        gc.enable()


def test_the_plan_counts_what_the_kernel_does(model, images):
    plan, entk = entk_plan(model, (3, PIXELS, PIXELS), 13), Entk(model, images)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    assert sum(weight.parameters for weight in plan.weights) == parameters
    assert sum(weight.entries for weight in plan.weights) == entk.layout.entries
    assert (plan.pairs, plan.images, plan.formed, plan.batch) == (91, 13, 13, entk.batch)
    assert (plan.samples, plan.held, plan.streamed, plan.read_bytes) == (13, 13, 13, 0)
    assert plan.result_bytes == 13 * 13 * 8
    text = str(plan)
    assert "13 × 13 symmetric: 91 entries" in text
    assert f"{parameters:,}" in text
    across = entk_plan(model, (3, PIXELS, PIXELS), 4, 9)
    assert (across.pairs, across.images) == (36, 13)


def test_the_plan_counts_passes_of_a_tight_budget(model, images):
    needed = _least(model, images) + 2**20
    entk = Entk(model, images, memory=needed)
    entk.block(range(13), range(13))
    assert (
        entk_plan(model, (3, PIXELS, PIXELS), 13, memory=needed).images
        == entk._blocks.computed
        > 13
    )


def test_the_budget_holds():
    """Peak resident set without model, images and result, in a process of its own."""
    code = Path(__file__).with_name("peak_memory.py")
    done = subprocess.run(
        [sys.executable, code, "192MiB"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) <= 1.125 * 192, done.stdout


@pytest.mark.parametrize("flops", [1, 2**44], ids=["smallest", "largest"])
@pytest.mark.parametrize("capacity", [4, 8, 30])
def test_panels_are_whole_tiles_and_cover_the_kernel_once(
    model, images, kernel, monkeypatch, capacity, flops
):
    from rmtgen.kernels.entk import kernel as module

    monkeypatch.setattr(module, "_PANEL_FLOPS", {"cpu": flops})
    edge, whole = 3, Entk(model, images, device="cpu")
    stored = whole.layout.entries * 8
    memory = max(int(capacity * stored / 0.6), 2 * stored + 2 * whole.image_bytes)
    entk = Entk(model, images, device="cpu", tile=edge, memory=memory)
    assert (entk.capacity >= len(images)) == (capacity == 30)
    found, columns = torch.zeros(13, 13, dtype=torch.float64), range(10)
    panels = list(entk.panels(columns, range(10, 13)))
    for rows, across, blocks in panels:
        for side, start in ((rows, 10 * (rows.start >= 10)), (across, 0)):
            assert (side.start - start) % edge == 0
            assert side.stop in (10, 13) or (side.stop - start) % edge == 0
            assert len(side) <= edge or flops > 1
        at = slice(rows.start, rows.stop), slice(across.start, across.stop)
        assert not found[at].any()
        found[at] = entk.blocks(rows, across, blocks)["whole"]
    close(torch.tril(found)[:, :10], torch.tril(kernel)[:, :10])
    assert entk._blocks.computed >= 13


def test_a_sum_beyond_float32_is_named_though_each_product_is_within():
    class Sums(torch.nn.Module):
        def __init__(self):
            super().__init__()
            weights = [torch.nn.Parameter(torch.zeros(8192)) for _ in range(4)]
            self.weights = torch.nn.ParameterList(weights)

        def forward(self, x):
            return sum((x * weight).sum(1, keepdim=True) for weight in self.weights)

    images = torch.tensor([1.5e17, 1.4e17])[:, None].expand(2, 8192)
    with pytest.raises(NumericalError, match="overflows torch.float32"):
        entk_gram(Sums().eval(), images)
    kernel = entk_gram(Sums().eval(), images, dtype=torch.float64)
    side = images[:, 0].double()
    torch.testing.assert_close(kernel, 4 * 8192 * side[:, None] * side)
