"""The panels of an eNTK as units that processes share."""

from collections.abc import Iterable, Sequence

from rmtgen.kernels.entk import Entk
from rmtgen.kernels.entk.plan import schedule
from rmtgen.kernels.entk.schedule import Panel
from rmtgen.kernels.entk.tiles import samples_in
from rmtgen.stages.division import Unit

SLOWER = {"cpu": (1.0, 1.0), "cuda": (13.0, 39.0)}
"""How much longer a FLOP of a pass and one of forming take than one of a product, about.

On an H100 they run at 12, 4 and 156 TFLOP/s.
"""


def panel_unit(entk: Entk, panel: Panel, at: tuple[int, int], parts: Sequence[str]) -> Unit:
    """A panel of a kernel, or of one of its chunks, as a unit; it needs its blocks.

    Args:
        entk: The kernel, or the chunk.
        panel: The panel.
        at: Numbers of the chunk and of the panel.
        parts: Names of the shards that it leaves.
    """
    pairs, (slow, slower) = pairs_in([panel]), SLOWER[entk.kind]
    passing, forming = slow * entk.cost.passing, slower * entk.cost.forming
    repeats, blocks = schedule(entk, [panel], pairs), sorted({*(panel.blocks or ())})
    needs = tuple(((at[0], span), passing * samples_in(span)) for span in blocks)
    own = forming * repeats.formed + entk.cost.meeting * pairs
    if not blocks:  # it divides itself, and keeps nothing for the next
        own += passing * repeats.images
    chunk, number = at
    return Unit(f"chunk-{chunk:03d}-panel-{number:06d}", tuple(parts), own, needs)


def pairs_in(panels: Iterable[Panel]) -> int:
    """Entries of the kernel in some panels, those of a symmetric one counted once."""
    sizes = [(len(rows), len(columns), rows == columns) for rows, columns, _ in panels]
    return sum(n * (n + 1) // 2 if symmetric else n * m for n, m, symmetric in sizes)
