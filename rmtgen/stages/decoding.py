"""What it would have taken a network to decode the images that others had decoded before."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32


@dataclass
class Decoding:
    """Images that a network has taken, and what decoding those took that were kept.

    So the speed of each network is that of decoding and passing all images, whichever came first.

    Attributes:
        workers: Processes that decode while the network runs; 0: images are decoded before a pass.
        images: Number of images that were taken.
        kept: Number of those that were kept.
        seconds: What decoding these took.
    """

    workers: int
    images: int = 0
    kept: int = 0
    seconds: float = 0.0

    def note(self, images: int, seconds: Float32[np.ndarray, " k"]) -> None:
        """Count images, and what decoding took of the first k of them; 0 for one not kept."""
        self.images += images
        self.kept += int(np.count_nonzero(seconds))
        self.seconds += float(seconds.sum(dtype=np.float64))

    def alone(self, seconds: float) -> float:
        """Seconds that the network would have taken alone, from those that it took.

        Decoding comes on top of a pass. Processes of their own decode beside the passes: together
        they are not faster than decoding, at what it took of the images that were kept.
        """
        if not self.kept:
            return seconds
        if not self.workers:
            return seconds + self.seconds
        return max(seconds, self.seconds / self.kept * self.images / self.workers)
