"""What a detector measures in a fit."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Measurement:
    """The quantity of one detector beside its threshold.

    Attributes:
        value: The quantity.
        threshold: The value at which it is suspicious.
        numbers: Further numbers, for the text that describes the quantity.
        samples: Positions of the training samples that make the quantity what it is, ascending.
        test_samples: Positions of the test samples that do.
    """

    value: float
    threshold: float
    numbers: Mapping[str, float] = field(default_factory=dict)
    samples: tuple[int, ...] = ()
    test_samples: tuple[int, ...] = ()
