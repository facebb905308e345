"""A concatenation in a race for time: it is as far as the member that is least far."""

from collections.abc import Callable, Sequence

from rmtgen.errors import RmtgenError
from rmtgen.ranking.probe import Probe
from rmtgen.ranking.together import power_root
from rmtgen.report.same_images import check_same_images
from rmtgen.runs.features import STAGE
from rmtgen.runs.manifest import Manifest
from rmtgen.runs.rundir import RunDir
from rmtgen.stages.budget import Clock
from rmtgen.stages.concatenating import details_of, labelled_of, sum_of_squares
from rmtgen.stages.engine import Outcome
from rmtgen.stages.entrant import Entrant, Scoring
from rmtgen.stages.scored import of_member
from rmtgen.store.side_by_side import SideBySide


class JointEntrant(Entrant):
    """A concatenation of entrants, which may run in the same race by themselves.

    On the first images each member has the scale of these images.
    """

    _stages = ("extract", "gram", "score")

    def __init__(
        self,
        folder: RunDir,
        members: Sequence[Entrant],
        clock: Clock,
        scoring: Scoring,
        show: Callable[[Outcome], None],
    ):
        """Take its members, and what an entrant takes."""
        super().__init__(folder, clock, scoring, show)
        self._members, self._looked = members, False

    @property
    def whole(self) -> bool:
        """Whether the features of all images are there, of every member."""
        return all(member.whole for member in self._members)

    @property
    def reached(self) -> int:
        """The number of images whose features every member has."""
        return min(member.reached for member in self._members)

    @property
    def scored(self) -> bool:
        """Whether the probe of all images is there."""
        return self.whole and self.folder.done("extract") is not None and super().scored

    def lacks(self, images: int) -> bool:
        """Whether a member lacks features of the first images.

        Raises:
            StaleInputError, CorruptInputError: What is there must not be used.
        """
        self._require_usable()
        return any(member.lacks(images) for member in self._members)

    def extraction(self, images: int) -> float:
        """What it takes to compute what members lack of so many images, as foreseen."""
        return sum(member.extraction(images) for member in self._members)

    def advance(self, images: int, limit: float) -> bool:
        """Compute what members lack of the first images, one after another, up to an instant."""
        for member in self._members:
            try:
                if not member.advance(images, limit):
                    return False
            except RmtgenError as error:
                raise of_member(self.folder, member.folder, error) from error
        return True

    def store(self, images: int) -> SideBySide:
        """The features of its members side by side, of the same power on the first images."""
        stores = [member.store(images) for member in self._members]
        scales = [
            power_root(member.name, sum_of_squares(store.first("train", images)), images)
            for member, store in zip(self._members, stores, strict=True)
        ]
        return SideBySide(stores, scales, labelled_of(self.folder))

    def _require_usable(self) -> None:
        """Look once at what an earlier call has put together."""
        if not self._looked:
            self.folder.done(STAGE)
            self._looked = True

    def _of_first(self, images: int) -> Probe:
        probe = super()._of_first(images)
        check_same_images([member.as_run(probe) for member in self._members])
        return probe

    @property
    def dim(self) -> int:
        """The number of features of all members."""
        return sum(member.dim for member in self._members)

    def _extracted(self, probe: Probe) -> Manifest:
        runs = [member.as_run(probe) for member in self._members]
        return Manifest(
            stage=STAGE,
            spec=self.folder.spec(STAGE),
            spec_hash=self.folder.spec_hash(STAGE),
            inputs={},
            upstream={},
            outputs={},
            details=details_of(runs, labelled_of(self.folder)),
            seconds=0.0,
        )
