"""Blocks of a kernel in a budget: passes, forming, a spill; planned for several sizes.

The seconds of the plans for one card divide by rates that were measured on an H100
(`tests/bench/measured/h100.csv`). With `SPILL=DIR` the last table is measured on this machine.
"""

import csv
import os
from functools import partial
from itertools import product
from pathlib import Path

import torch

from rmtgen import load_backbone
from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk.chunks import chunks
from rmtgen.kernels.entk.plan import RandomImages, schedule
from rmtgen.kernels.entk.schedule import Division, Panel, least_passes, tile_order
from rmtgen.kernels.entk.tiles import BlockCache, samples_in
from rmtgen.kernels.entk.work import MATERIALISED, Repeats, count
from rmtgen.tables import Table
from rmtgen.units import readable_bytes
from tests.bench.machine import timed

SIZES = (
    ("resnet18", 32, 10_000, 2_000, "cpu", ("1GiB", "4GiB", "16GiB")),
    ("resnet18", 224, 10_000, 2_000, "cpu", ("1GiB", "4GiB", "16GiB")),
    ("resnet18", 224, 50_000, 10_000, "cuda", ("24GiB", "48GiB", "80GiB")),
    ("resnet50", 224, 50_000, 10_000, "cuda", ("80GiB", "141GiB")),
)
WHOLE = "passes and samples of chunks are counted as such of all parameters with the same FLOPs"
PRODUCTS = {
    "ieee": "ieee, 10000 × 4096",
    "split": "split, 10000 × 4096",
}
"""The products of each precision, as the figures of the card name them."""
MEASURED = Path(__file__).with_name("measured") / "h100.csv"


def kernel(name, pixels, images, **options):
    """The kernel of a random network on images of noise; nothing passes but the two checked."""
    model = load_backbone(name, init="random", head="random", img_size=pixels).model
    return Entk(model, RandomImages(images, (3, pixels, pixels)), device="cpu", **options)


def ranges(n, m):
    """Training images and test images, as a run has them."""
    return range(n), range(n, n + m)


def equal_blocks(entk, train, test):
    """Passes and samples formed with row and column blocks of equal size, each kernel by itself."""
    cache, formed, edge = BlockCache(entk.capacity), 0, max(1, entk.capacity // 2)
    for rows in (train, test):
        for row, column in tile_order(rows, train, Division(edge, edge)):
            formed += samples_in(*{row, column})
            for own, other in ((row, column), (column, row)):
                cache.get(own, lambda span: None, partner=other)
    return cache.computed, formed


def planned():
    """Passes and forming of every size in every budget."""
    rows = []
    for name, pixels, n, m, target, budgets in SIZES:
        for memory in budgets:
            entk = kernel(name, pixels, n + m, memory=memory, target=target)
            train, test = ranges(n, m)
            pairs = n * (n + 1) // 2 + n * m
            repeats = schedule(entk, entk.panels(train, test), pairs)
            groups = chunks(entk, train, train, test, sums=entk.budget // 8)
            divided = [schedule(group, group.panels(train, test), pairs) for group in groups]
            _, division = entk.division(train, train, test)
            sample = 4 * entk.layout.entries
            passes, formed = equal_blocks(entk, train, test)
            rows.append(
                (
                    f"{name}, {pixels} px, {n:,} + {m:,}",
                    memory,
                    readable_bytes(sample),
                    f"{division.held:,} / {division.streamed:,}",
                    f"{passes:,}",
                    f"{repeats.images:,}",
                    f"{least_passes(n + m, pairs, entk.capacity):,}",
                    f"{formed:,}",
                    f"{repeats.formed:,}",
                    f"{len(groups)}",
                    *(f"{whole:,.0f}" for whole in in_whole(entk, groups, divided)),
                    readable_bytes(sample * (repeats.images - n - m)),
                )
            )
    headings = (
        *("kernel", "memory", "a sample", "held / streamed", "passes, equal blocks", "passes"),
        *("at least", "formed, equal blocks", "formed", "chunks", "passes in chunks"),
        *("formed in chunks", "read from a spill"),
    )
    print(Table(headings, tuple(rows), "<" + ">" * 12, (WHOLE,)).text())


def in_whole(entk, groups, repeats):
    """Passes and samples formed of all chunks, as such of all parameters with the same FLOPs."""
    pairs = list(zip(groups, repeats, strict=True))
    passed = sum(own.images * group.share for group, own in pairs)
    formed = sum(own.formed * group.cost.forming for group, own in pairs)
    return passed, formed / entk.cost.forming


def rate(bench, case, figure):
    """A figure that was measured on the card."""
    with MEASURED.open(newline="") as file:
        (value,) = (
            float(row["value"])
            for row in csv.DictReader(file)
            if (row["bench"], row["case"], row["figure"]) == (bench, case, figure)
        )
    return value


def seconds_on_card(name, entk, groups, repeats, pairs, precision):
    """Seconds of passes, of forming and of products at 224 px, at rates that a card has shown."""
    passed, formings = in_whole(entk, groups, repeats)
    weights = count(entk.passes, entk.layout, Repeats(1, 1, 1, pairs))
    case = f"{name}, 224 px, N = 256, ieee, contiguous"
    captured, plain = (rate("pass_rates", case, figure) for figure in ("capture", "plain pass"))
    stored = sum(own.forming_flops for own in weights if own.rule == MATERIALISED)
    forming = stored / (1 / captured - 1 / plain)
    formed = formings * (sum(own.forming_flops for own in weights) - stored) / forming
    speed = rate("products", PRODUCTS[precision], "rate")
    products = sum(own.kernel_flops for own in weights) / (1e12 * speed)
    return passed / captured, formed, products


def on_one_card():
    """The paper's size in 80 GiB: seconds of passes, forming and products at measured rates."""
    rows = []
    train, test = ranges(50_000, 10_000)
    pairs = len(train) * (len(train) + 1) // 2 + len(train) * len(test)
    for name, divided in product(("resnet18", "resnet50"), (False, True)):
        entk = kernel(name, 224, len(train) + len(test), memory="80GiB", target="cuda")
        groups = chunks(entk, train, train, test, sums=entk.budget // 8) if divided else [entk]
        repeats = [schedule(group, group.panels(train, test), pairs) for group in groups]
        for precision in PRODUCTS:
            seconds = seconds_on_card(name, entk, groups, repeats, pairs, precision)
            total = sum(seconds)
            parts = (f"{part:,.0f}" for part in (*seconds, total))
            rows.append((name, f"{len(groups)}", precision, *parts, f"{total / 60:.1f}"))
    headings = (
        "network",
        "chunks",
        "products",
        "passes, s",
        "forming",
        "products, s",
        "total",
        "minutes",
    )
    note = "forming at the rate of the gradients that a pass stores, beyond a plain pass"
    print(Table(headings, tuple(rows), "<><>>>>>", (note, WHOLE)).text())


def measured(place):
    """Seconds with and without a spill, alternating, on this machine."""
    rows = []
    for name, pixels, n, memory in (
        ("resnet18", 224, 48, "200MiB"),
        ("resnet18", 64, 384, "320MiB"),
    ):
        model = load_backbone(name, init="random", head="random", img_size=pixels).model
        images, every = torch.randn(n, 3, pixels, pixels), range(n)
        times, found = {None: [], place: []}, {}
        for _ in range(2):
            for spill in times:
                entk = Entk(model, images, device="cpu", memory=memory, spill=spill)
                seconds, found[spill] = timed(partial(entk.block, every, every))
                times[spill].append(seconds)
                entk.finish()
        repeats = schedule(entk, [Panel(every, every)], n * (n + 1) // 2)
        again, read = (f"{min(own):.2f}" for own in times.values())
        same = "yes" if torch.equal(*found.values()) else "no"
        case = f"{name}, {pixels} px, N = {n}"
        rows.append((case, memory, f"{repeats.images:,}", again, read, same))
    headings = ("kernel", "memory", "passes without", "again, s", "spill, s", "equal bits")
    print(Table(headings, tuple(rows), "<>>>>>", ()).text())


def main():
    """Print the tables."""
    planned()
    print()
    on_one_card()
    if os.environ.get("SPILL"):
        print()
        measured(Path(os.environ["SPILL"]))


if __name__ == "__main__":
    main()
