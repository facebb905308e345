"""The registry of detectors: when each applies, what its quantity is, and what it says.

A detector is a function that measures a quantity (`detectors`, `suspects`) and an entry here. It
says one of two things. *About the fit*: a number may not be trusted at this n and ridge, whatever
the data. *About the data*: they are not what they claim to be, n independent samples of the
population of the tests.
"""

import operator
from collections.abc import Callable
from dataclasses import dataclass

from rmtgen.theory import detectors, suspects
from rmtgen.theory.measurement import Measurement
from rmtgen.theory.observed import Fit
from rmtgen.theory.resolvent import explained

ABOUT = ("fit", "data")
"""What a detector speaks of."""
LISTED = 5
"""Number of samples that a message lists."""


@dataclass(frozen=True)
class Detector:
    """One detector of a situation in which GCV fails.

    Attributes:
        name: Name in a report and in theory.h5.
        about: What it speaks of, one of `ABOUT`.
        quantity: Description of the quantity; `{}` fields take the `numbers` of the measurement.
        advice: What to do where it trips.
        measure: The quantity of a fit, and its threshold.
        applies: Whether a fit has what `measure` needs.
        trips: Comparison of the value with the threshold.
        matters: Whether it changes what is reported of a fit; where not, it does not trip.
    """

    name: str
    about: str
    quantity: str
    advice: str
    measure: Callable[[Fit], Measurement]
    applies: Callable[[Fit], bool] = lambda fit: fit.enough
    trips: Callable[[float, float], bool] = operator.gt
    matters: Callable[[Fit], bool] = lambda fit: True

    def finding(self, fit: Fit) -> "Finding":
        """What it sees in a fit."""
        seen = self.measure(fit)
        tripped = bool(self.trips(seen.value, seen.threshold)) and self.matters(fit)
        message = (
            f"{self.quantity.format(**seen.numbers)} is {seen.value:.4g} against a threshold of"
            f" {seen.threshold:.4g}"
        )
        named = (seen.samples, seen.test_samples) if tripped else ((), ())
        if tripped:
            message += f": {self.advice}"
        for noun, samples in zip(("train", "test"), named, strict=True):
            message += _listed(noun, samples)
        return Finding(
            self.name, self.about, seen.value, seen.threshold, tripped, f"{message}.", *named
        )


@dataclass(frozen=True)
class Finding:
    """What one detector saw: value, threshold, and a sentence with both and what to do.

    Attributes:
        detector: Name of the detector.
        about: What it speaks of, one of `ABOUT`.
        value: The quantity.
        threshold: The value at which it is suspicious.
        tripped: Whether it is.
        message: The sentence.
        samples: Positions of the training samples that it suspects, where it tripped.
        test_samples: Positions of the test samples.
    """

    detector: str
    about: str
    value: float
    threshold: float
    tripped: bool
    message: str
    samples: tuple[int, ...] = ()
    test_samples: tuple[int, ...] = ()


def _listed(noun: str, samples: tuple[int, ...]) -> str:
    """The first few of some samples, and how many there are."""
    if not samples:
        return ""
    shown = ", ".join(map(str, samples[:LISTED]))
    more = f", … ({len(samples)} in all)" if len(samples) > LISTED else ""
    return f"; {noun} samples {shown}{more}"


DETECTORS = (
    Detector(
        "small_sample",
        "fit",
        "the number of samples n",
        "the fluctuations of GCV are large at this size, so take more samples or average over"
        " draws",
        lambda fit: detectors.small_sample(len(fit.matrix)),
        applies=lambda fit: True,
        trips=operator.lt,
    ),
    Detector(
        "leverage",
        "fit",
        "the leverage ratio H = CV(diag G)/sqrt(2(κ̂' - 1)/n), of note where GCV and LOO differ,",
        "the samples differ in scale, so trust LOO and not GCV",
        lambda fit: detectors.leverage(fit.resolvent),
        matters=lambda fit: fit.misses and fit.gap.value > fit.gap.threshold,
    ),
    Detector(
        "near_duplicates",
        "data",
        "the share of samples with a near-copy among the others",
        "a left-out sample is predicted from its copy, so remove the copies or leave each group out"
        " as a whole",
        lambda fit: suspects.near_duplicates(fit.neighbours),
    ),
    Detector(
        "exact_duplicates",
        "data",
        "the share of samples with an exact copy among the others",
        "a left-out sample is in the fit all the same, so remove the copies",
        lambda fit: suspects.exact_duplicates(fit.neighbours, single=fit.single),
    ),
    Detector(
        "outliers",
        "data",
        "the gap below the {count} farthest samples, in mean spacings of the tail,",
        "they lie apart from all others, so look at them",
        lambda fit: suspects.outliers(fit.matrix),
    ),
    Detector(
        "heavy_features",
        "data",
        "Hill's estimate 1/a of the tail of the samples' distances from their mean",
        "the features have no fourth moment, so trust LOO and not GCV, and neither beyond n",
        lambda fit: suspects.heavy_features(fit.matrix),
    ),
    Detector(
        "heavy_losses",
        "data",
        "the kurtosis of the leave-one-out errors, where {count} of {n} samples carry {share:.0f} %"
        " of the risk,",
        "the interval of leave-one-out assumes a fourth moment of the noise and is too narrow, so"
        " look at these samples",
        lambda fit: suspects.heavy_losses(fit.losses),
        applies=lambda fit: fit.misses and not fit.classified,
    ),
    Detector(
        "gcv_loo_gap",
        "fit",
        "the gap |log(GCV/LOO)|",
        "a few samples of large leverage carry the difference, so trust LOO and not GCV",
        lambda fit: fit.gap,
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "correlated_samples",
        "data",
        "the log-ratio of the risk on left-out runs of {size} neighbours to that on {size} random"
        " samples",
        "samples near each other in the order given are alike, so trust blocked cross-validation"
        " and neither GCV nor LOO",
        lambda fit: detectors.correlated_samples(fit.resolvent, fit.dual),
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "successive_residuals",
        "data",
        "the z-score of the correlation of successive leave-one-out residuals",
        "the noise of neighbours in the order given is alike, so the risk fluctuates by more than"
        " its standard error says",
        lambda fit: detectors.successive_residuals(fit.resolvent, fit.dual),
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "drifting_residuals",
        "data",
        "the squared sums of leave-one-out residuals over eighths of the samples, over those of"
        " shuffles,",
        "the targets drift in the order given, so later samples are of another population than"
        " earlier ones",
        lambda fit: detectors.drifting_residuals(fit.resolvent, fit.dual),
        applies=lambda fit: fit.misses,
    ),
    Detector(
        "successive_features",
        "data",
        "the z-score of the cosines of successive samples",
        "neighbours in the order given are alike, as frames of one film are, so leave groups out as"
        " a whole",
        lambda fit: detectors.successive_features(fit.matrix),
    ),
    Detector(
        "successive_scales",
        "data",
        "the z-score of the rank correlation of the scales of successive samples",
        "the scale of the features depends on the order, so look for batches that were prepared in"
        " another way",
        lambda fit: detectors.successive_scales(fit.matrix),
    ),
    Detector(
        "ordered_classes",
        "data",
        "the z-score of {pairs} pairs of neighbours of equal class, where a shuffle gives"
        " {mean:.0f},",
        "the order carries the class, so shuffle before the first n samples are taken",
        lambda fit: detectors.ordered_classes(fit.code.decode(fit.targets)),
        applies=lambda fit: fit.classified,
    ),
    Detector(
        "covariate_shift",
        "data",
        "the Kolmogorov-Smirnov distance between what fits explain of left-out train samples and of"
        " test samples",
        "GCV describes samples like the train samples, so look for copies among these, or measure"
        " the risk on labelled test samples",
        lambda fit: detectors.covariate_shift(*explained(fit.matrix, fit.centred, fit.tests)),
        applies=lambda fit: fit.tested,
    ),
    Detector(
        "mean_shift",
        "data",
        "the squared distance between the mean train and the mean test sample over that of random"
        " splits",
        "GCV describes samples like the train samples, so measure the risk on labelled test"
        " samples",
        lambda fit: detectors.mean_shift(fit.matrix, fit.tests),
        applies=lambda fit: fit.tested,
    ),
    Detector(
        "shared_samples",
        "data",
        "the share of test samples with a copy among the train samples",
        "the test risk is that of samples which the fit has seen, so remove the copies",
        lambda fit: suspects.shared_samples(fit.matrix, fit.tests),
        applies=lambda fit: fit.tested,
    ),
    Detector(
        "test_population",
        "data",
        "the distance |z| of leave-one-out from the test risk, in standard errors of both",
        "the test samples are not of the population of the train samples, so look for another class"
        " prior, wrong labels, or samples in both",
        lambda fit: detectors.test_population(fit.resolvent, fit.dual, fit.losses, fit.test_losses),
        applies=lambda fit: fit.labelled and fit.misses,
    ),
    Detector(
        "class_counts",
        "data",
        "the z-score of χ² of {classes} class counts among train and test samples",
        "the classes have other shares among the test samples, so weigh the risk by class",
        lambda fit: detectors.class_counts(
            *(fit.code.decode(part) for part in (fit.targets, fit.test_targets))
        ),
        applies=lambda fit: fit.coded,
    ),
    Detector(
        "float32_df",
        "fit",
        "df/n of a float32 Gram matrix",
        "float32 does not resolve what is left of it, so compute the Gram matrix in float64 or take"
        " a larger ridge",
        lambda fit: detectors.float32_df(fit.resolvent),
        applies=lambda fit: fit.single,
    ),
    Detector(
        "float32_ridge",
        "fit",
        "nλ of a float32 Gram matrix (rounding 10·eps32·s_max)",
        "float32 does not resolve the eigenvalues there, so compute the Gram matrix in float64 or"
        " take a larger ridge",
        lambda fit: detectors.float32_ridge(fit.resolvent, fit.matrix),
        applies=lambda fit: fit.single,
        trips=operator.le,
    ),
)
"""The detectors, in the order of a report."""
