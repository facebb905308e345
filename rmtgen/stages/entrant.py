"""A representation in a race for time: how far its features are, and what more of them take."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from itertools import accumulate
from statistics import median
from typing import Any

import numpy as np

from rmtgen.device import default_device
from rmtgen.ranking.probe import Probe
from rmtgen.runs.manifest import Manifest, recorded
from rmtgen.runs.part import PartRun
from rmtgen.runs.run import Run, load_run
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.budget import Clock
from rmtgen.stages.division import Unit
from rmtgen.stages.engine import Outcome, advance_stage, run_stage
from rmtgen.stages.pool import load_first
from rmtgen.stages.score import headline, probed
from rmtgen.store.batched_rows import BatchedRows
from rmtgen.store.feature_store import FeatureStore


class Scoring:
    """How long probes take on this machine: a time like n·min(n, p) for n images, p features.

    Single times are of little use: the first of a process, and those of a busy machine, are longer.
    """

    def __init__(self) -> None:
        self._rates: dict[int, list[float]] = {}

    def record(self, n: int, dim: int, seconds: float) -> None:
        """Take the seconds of a probe."""
        self._rates.setdefault(n, []).append(seconds / (n * min(n, dim)))

    def seconds(self, n: int, dim: int) -> float:
        """Seconds of another probe, from the median of the largest ones so far; 0 without any."""
        if not self._rates:
            return 0.0
        return median(self._rates[max(self._rates)]) * n * min(n, dim)


class Entrant:
    """One representation of the images.

    The features of fewer images are the first of those of all: nothing is computed twice. What is
    known of their speed is kept beside them, for a later call.
    """

    _stages: Sequence[str] = ("gram", "score")
    """Those that follow the features of all images."""

    def __init__(
        self, folder: RunDir, clock: Clock, scoring: Scoring, show: Callable[[Outcome], None]
    ):
        """Take a directory of a run, a clock, times of probes, and where outcomes are shown."""
        self.folder, self._clock, self._scoring, self._show = folder, clock, scoring, show
        self._opening, self._of_image = 0.0, 0.0
        if manifest := folder.begun():
            known = (manifest.details.get(key) for key in ("speed", "made", "decoding_saved"))
            speed, made, saved = known
            if isinstance(speed, float) and isinstance(made, int):
                self._of_image = 1 / speed
                alone = manifest.seconds + (saved if isinstance(saved, float) else 0.0)
                self._opening = max(0.0, alone - made * self._of_image)

    @property
    def name(self) -> str:
        """The name of its run."""
        return self.folder.path.name

    @property
    def config(self) -> Mapping[str, Any]:
        """The settings that can change its score."""
        return self.folder.spec("score")

    @property
    def images(self) -> int:
        """The number of all images."""
        return self.folder.config.train

    @cached_property
    def whole(self) -> bool:
        """Whether the features of all images are there.

        Raises:
            StaleInputError, CorruptInputError: What is there must not be used.
        """
        return self.folder.done("extract") is not None

    @cached_property
    def reached(self) -> int:
        """The number of images of training whose features are there."""
        if self.whole or self.folder.begun() is None:
            return self.images if self.whole else 0
        store = self._store()
        lacking = store.pending("train")
        return store.layout.span("train", lacking[0]).start if lacking else self.images

    @property
    def scored(self) -> bool:
        """Whether the probe of all images is there."""
        return self.whole and self.folder.done("score") is not None

    def lacks(self, images: int) -> bool:
        """Whether features of the first images are lacking; of all, whether they are unfinished."""
        return self.reached < images or (images >= self.images and not self.whole)

    def seconds(self, images: int) -> float:
        """What it takes to compute and probe the features of so many images, as foreseen.

        Images take what the last ones took, decoding included.
        """
        if images >= self.images and self.scored:
            return 0.0
        found = self.extraction(images)
        return found + self._scoring.seconds(images, self.dim) if self.reached else found

    def extraction(self, images: int) -> float:
        """What it takes to compute the features of so many images, as foreseen."""
        if not self.lacks(images):
            return 0.0
        tests = self.folder.config.test if images >= self.images else 0
        return self._opening + (images - self.reached + tests) * self._of_image

    def advance(self, images: int, limit: float) -> bool:
        """Compute the features of the first images, up to an instant of the clock.

        Returns:
            Whether those of so many images are there.
        """
        if self.lacks(images) and (started := self._clock()) < limit:
            before, instants = self.reached, [started]

            def goes_on() -> bool:
                instants.append(self._clock())
                return instants[-1] < limit

            wanted = _first(images, self.images)
            outcome = advance_stage("extract", self.folder, wanted, goes_on)
            self._show(outcome)
            del self.reached, self.whole
            self._time(instants, self.reached - before, outcome.details.get("decoding_saved", 0.0))
        return not self.lacks(images)

    def _time(self, instants: Sequence[float], made: int, saved: float) -> None:
        """Keep how long opening took, and an image: the first instant is the beginning.

        Seconds that were saved, as another network had decoded the images, count as taken: the next
        images may have been decoded by none.
        """
        if len(instants) > 1:
            self._opening = instants[1] - instants[0]
        if len(instants) > 2 and made > 0:
            self._of_image = (instants[-1] - instants[1] + saved) / made

    def probe(self, images: int) -> Probe:
        """The probe of the first images, whose features are there; of all, that of the run."""
        started = self._clock()
        probe = self._of_all() if images >= self.images else self._of_first(images)
        self._scoring.record(images, self.dim, self._clock() - started)
        return probe

    def _of_all(self) -> Probe:
        for stage in self._stages:
            outcome = run_stage(stage, self.folder)
            if outcome.status != "not needed":
                self._show(outcome)
        return load_run(self.folder.path).score

    def _of_first(self, images: int) -> Probe:
        config, path, started = self.folder.config, self.folder.path, time.perf_counter()
        pool = load_first(self.store(images), config, images, default_device(config.device))
        probe = probed(pool, config, self.dim)
        said, seconds = f"{headline(probe)} of {images} images", time.perf_counter() - started
        self._show(Outcome("score", self.name, path, "begun", round(seconds, 3), said))
        return probe

    def as_run(self, probe: Probe) -> Run:
        """The run as far as a probe of its first images, or of all, has looked at it."""
        if probe.n >= self.images:
            return load_run(self.folder.path)
        manifest = self._extracted(probe)
        stages = {"extract": manifest} if manifest else {}
        return PartRun(self.folder.path, stages, self.config, probe, self.store(probe.n))

    def store(self, _images: int) -> BatchedRows:
        """The features that are there, those of the first images at least."""
        return self._store()

    @property
    def dim(self) -> int:
        """The number of its features."""
        return self._store().layout.dim

    def _extracted(self, _probe: Probe) -> Manifest | None:
        """What is recorded of the features, of which some may be lacking."""
        return self.folder.done("extract") or self.folder.begun()

    def _store(self) -> FeatureStore:
        return FeatureStore.open(self.folder.path, recorded(self.folder.path, "extract"))


def _first(images: int, train: int) -> Callable[[Sequence[Unit]], Sequence[Unit]]:
    """The units of so many images of training; every unit for all of them."""

    def wanted(units: Sequence[Unit]) -> Sequence[Unit]:
        before = np.array([0, *accumulate(unit.cost for unit in units)])[:-1]
        count = len(units) if images >= train else int((before < images).sum())
        return units[:count]

    return wanted
