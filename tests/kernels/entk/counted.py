"""What a kernel does, counted by torch; and rates that do not depend on the machine."""

from math import prod

import torch
from torch.utils.flop_counter import FlopCounterMode

from rmtgen.rates import Rates


def flops(work):
    """FLOPs of a piece of work by torch's counter, which is told the product of oneDNN."""

    def product(left, right, *_, out_shape=None):
        return 2 * prod(out_shape) * right[1]

    onednn = getattr(torch.ops.mkldnn, "_linear_pointwise", None)  # not in every build of torch
    known = {} if onednn is None else {onednn: product}
    with FlopCounterMode(display=False, custom_mapping=known) as counter:
        work()
    return counter.get_total_flops()


class Still(Rates):
    """Rates of a device on which everything takes two seconds."""

    def __init__(self):
        super().__init__(torch.device("cpu"))
        self.timed = 0

    def seconds(self, work):
        work()
        self.timed += 1
        return 2.0
