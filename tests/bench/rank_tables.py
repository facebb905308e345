"""Tables of the benchmark of rankings, from the numbers of every task and representation."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from rmtgen.ranking.rivals import RIVALS
from rmtgen.ranking.rivals.facts import ModelFacts
from rmtgen.tables import Table
from tests.bench.pools import held
from tests.bench.rank_features import LAST, LITES, TOP1, WIDTHS, Network, Representation
from tests.bench.rank_order import over_tasks, regret, tau, within
from tests.bench.rank_scores import METHODS, Found
from tests.bench.rank_tasks import Task

OURS = {
    "leave-one-out risk": ("probe", "score"),
    "leave-one-out accuracy": ("probe", "accuracy"),
    "leave-one-out risk, unit variance": ("standardised", "score"),
}
"""Scores of rmtgen's by their title: where they are kept."""
TRUTHS = {
    "ridge risk": ("ridge", "risk"),
    "ridge accuracy": ("ridge", "accuracy"),
    "logistic accuracy": ("logistic", "accuracy"),
}
"""What scores are held against, likewise."""
YARDSTICK = RIVALS["logistic_probe"].title
"""The method that seconds are held against."""
SIGN = {"risk": -1.0}


@dataclass(frozen=True, eq=False)
class Results:
    """All numbers of some tasks.

    Attributes:
        tasks: The tasks.
        shown: The representations.
        widths: Number of features of each.
        facts: Parameters of each network.
        found: What is kept, by task and representation.
    """

    tasks: Sequence[Task]
    shown: Sequence[Representation]
    widths: np.ndarray
    facts: Mapping[str, int]
    found: Mapping[tuple[str, str], Mapping[str, Found]]

    def column(self, task: Task, kind: str, key: str) -> np.ndarray:
        """A number of each representation; NaN where it failed."""
        kept = (self.found[task.name, str(one)].get(kind, {}) for one in self.shown)
        return np.array([one.get(key, np.nan) for one in kept])

    def truth(self, task: Task, title: str) -> np.ndarray:
        """A truth of which more is better."""
        kind, key = TRUTHS[title]
        return SIGN.get(key, 1.0) * self.column(task, kind, key)

    def scores(self, task: Task) -> dict[str, np.ndarray]:
        """Scores of the representations by title of the method."""
        rivals = {
            RIVALS[name].title: self.column(task, name, "score")
            for name in METHODS
            if name in RIVALS
        }
        models = [ModelFacts(str(one), self.facts[one.network.model]) for one in self.shown]
        fixed = {
            RIVALS[name].title: RIVALS[name].score(models) for name in ("parameters", "size_list")
        }
        ours = {title: self.column(task, *place) for title, place in OURS.items()}
        return {**ours, **rivals, **fixed}

    def seconds(self, kind: str) -> float:
        """Those of a method over all tasks and representations."""
        return sum(self.column(task, kind, "seconds").sum() for task in self.tasks)

    def subset(self, kept: Sequence[bool]) -> "Results":
        """The same of some representations."""
        shown = [one for one, own in zip(self.shown, kept, strict=True) if own]
        widths = self.widths[np.asarray(kept)]
        return Results(self.tasks, shown, widths, self.facts, self.found)


def interval(values: Sequence[float], digits: int = 2, scale: float = 1.0) -> str:
    """The mean over tasks with its interval."""
    mean, low, high = (scale * one for one in over_tasks(np.asarray(values)))
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]"


def overall(results: Results) -> Table:
    """Every method against every truth, over all representations."""
    scores = [results.scores(task) for task in results.tasks]
    rows = []
    for title in scores[0]:
        row = [title]
        for truth in TRUTHS:
            values = [
                tau(results.truth(task, truth), one[title])
                for task, one in zip(results.tasks, scores, strict=True)
            ]
            row.append(interval(values))
        for truth in list(TRUTHS)[1:]:
            values = [
                regret(results.truth(task, truth), one[title])
                for task, one in zip(results.tasks, scores, strict=True)
            ]
            row.append(interval(values, 1, 100))
        rows.append(tuple(row))
    headings = ("method", *(f"τ, {truth}" for truth in TRUTHS), "regret, ridge", "logistic")
    return Table(headings, tuple(rows))


def apart(results: Results) -> Table:
    """τ within classes of size, and how far leave-one-out is ahead of each method in τ."""
    groups = np.digitize(results.widths, [high for _, high in WIDTHS.values()][:-1])
    scores = [results.scores(task) for task in results.tasks]
    pairs = list(zip(results.tasks, scores, strict=True))
    first, rows = next(iter(OURS)), []
    for title in scores[0]:
        row = [title]
        for truth in ("ridge risk", "logistic accuracy"):
            row.append(
                interval(
                    [within(results.truth(task, truth), one[title], groups) for task, one in pairs]
                )
            )
        for truth in ("ridge risk", "logistic accuracy"):
            gains = [
                tau(results.truth(task, truth), one[first])
                - tau(results.truth(task, truth), one[title])
                for task, one in pairs
            ]
            row.append("–" if title == first else interval(gains))
        rows.append(tuple(row))
    headings = (
        "method",
        "within, ridge risk",
        "within, logistic",
        "ahead, ridge risk",
        "ahead, logistic",
    )
    return Table(headings, tuple(rows))


def costs(results: Results) -> Table:
    """Seconds of processor time over all tasks and representations, and the largest task's."""
    titles = {"probe": "rmtgen, all of a ranking", "path": "rmtgen, leave-one-out alone"}
    titles |= {name: RIVALS[name].title for name in METHODS if name in RIVALS}
    largest = max(results.tasks, key=lambda task: len(task.rows["train"]) * task.classes)
    rows = []
    for kind, title in titles.items():
        row = [title]
        for tasks in (results.tasks, [largest]):
            own = Results(tasks, results.shown, results.widths, results.facts, results.found)
            seconds = own.seconds(kind)
            row += [f"{seconds:,.0f}", f"{seconds / own.seconds('logistic_probe'):.2f}"]
        rows.append(tuple(row))
    return Table(("method", "seconds", "ratio", largest.name, "ratio"), tuple(rows))


def by_task(results: Results) -> Table:
    """Each task: leave-one-out beside the best rival of that task."""
    rows, ours = [], list(OURS)[:2]
    for task in results.tasks:
        scores = results.scores(task)
        rivals = [title for title in scores if title not in OURS]
        row = [task.name, f"{len(task.rows['train']):,}"]
        row.append(f"{100 * results.truth(task, 'logistic accuracy').max():.1f}")
        for truth in ("ridge risk", "logistic accuracy"):
            taus = {title: tau(results.truth(task, truth), scores[title]) for title in scores}
            best = max(rivals, key=taus.__getitem__)
            row += [*(f"{taus[title]:.2f}" for title in ours), f"{taus[best]:.2f} {best}"]
        rows.append(tuple(row))
    headings = (
        "task",
        "n",
        "best, %",
        "ridge: LOO",
        "LOO acc.",
        "best rival",
        "logistic: LOO",
        "LOO acc.",
        "best rival",
    )
    return Table(headings, tuple(rows), "<>>>><>><")


def heads(results: Results) -> Table:
    """Trained networks with their classifiers, where NCE and LEEP apply; those of ImageNet, whose
    accuracy there is known."""
    own = results.subset([one.has_head for one in results.shown])
    lites = results.subset([one.has_head and one.network.model in LITES for one in results.shown])
    top1 = np.array([TOP1[one.network.model] for one in lites.shown])
    scores = [own.scores(task) for task in own.tasks]
    narrow = [lites.scores(task) for task in lites.tasks]
    for task, one, few in zip(own.tasks, scores, narrow, strict=True):
        one |= {RIVALS[name].title: own.column(task, name, "score") for name in ("nce", "leep")}
        few |= {RIVALS[name].title: lites.column(task, name, "score") for name in ("nce", "leep")}
        few[RIVALS["imagenet_top1"].title] = top1
    rows = []
    for title in narrow[0]:
        row = [title]
        for some, found in ((own, scores), (lites, narrow)):
            pairs = list(zip(some.tasks, found, strict=True))
            if title not in found[0]:
                row += ["–", "–"]
                continue
            truth = "logistic accuracy"
            taus = [tau(some.truth(task, truth), one[title]) for task, one in pairs]
            losses = [regret(some.truth(task, truth), one[title]) for task, one in pairs]
            row += [interval(taus), interval(losses, 1, 100)]
        rows.append(tuple(row))
    headings = ("method", f"τ of {len(own.shown)}", "regret", f"τ of {len(lites.shown)}", "regret")
    return Table(headings, tuple(rows))


def fine_tuned(results: Results, accuracies: Mapping[tuple[str, str], float]) -> Table:
    """τ and regret with the accuracy of fine-tuned networks, by task."""
    networks = {name for _, name in accuracies}
    kept = [one.layer == LAST and str(one.network) in networks for one in results.shown]
    own = results.subset(kept)
    tasks = [task for task in own.tasks if (task.name, str(own.shown[0].network)) in accuracies]
    columns = []
    for task in tasks:
        truth = np.array([accuracies[task.name, str(one.network)] for one in own.shown])
        scores = own.scores(task) | {
            f"its {name}": own.truth(task, name) for name in list(TRUTHS)[1:]
        }
        columns.append(
            {
                title: (f"{tau(truth, one):.2f}", f"{100 * regret(truth, one):.1f}")
                for title, one in scores.items()
            }
        )
    rows = [(title, *(cell for one in columns for cell in one[title])) for title in columns[0]]
    headings = ("method", *(cell for task in tasks for cell in (f"τ, {task.name}", "regret")))
    return Table(headings, tuple(rows))


def tuned_networks(
    networks: Sequence[Network], accuracies: Mapping[tuple[str, str], float]
) -> Table:
    """The accuracy of each fine-tuned network, %."""
    tasks = list(dict.fromkeys(task for task, _ in accuracies))
    rows = [
        (str(one), *(f"{100 * accuracies[task, str(one)]:.1f}" for task in tasks))
        for one in networks
    ]
    return Table(("network", *tasks), tuple(rows))


def ahead(name: str, whole: Sequence[Found], tenths: Sequence[Sequence[Found]]) -> tuple[str, ...]:
    """A row of the table of forecasts: the order with all labels, and risk and accuracy there.

    Args:
        name: Of the task.
        whole: What all labels measure, by representation.
        tenths: What each tenth foresees, by representation.
    """
    risk, error, right = (
        np.array([one[key] for one in whole]) for key in ("risk", "risk_se", "accuracy_at_risk")
    )
    spread = np.sqrt(right * (1 - right) / whole[0]["tested"])
    found: dict[str, list[float]] = {}
    for tenth in tenths:
        seen = {key: np.array([one[key] for one in tenth]) for key in tenth[0]}
        known = np.isfinite(seen["with_more"])
        values = {
            "now": tau(-risk, -seen["loo"]),
            "then": tau(-risk, -seen["with_more"]),
            "now, accuracy": tau(right, seen["accuracy"]),
            "then, accuracy": tau(right, seen["accuracy_with_more"]),
            "off": 100 * np.abs(seen["with_more"] / risk - 1)[known].mean(),
            "held": held(
                *(
                    one[known]
                    for one in (
                        risk,
                        seen["with_more"],
                        seen["with_more_low"],
                        seen["with_more_high"],
                        error,
                    )
                )
            ).mean(),
        }
        certain = np.isfinite(seen["accuracy_with_more"])
        values["off, accuracy"] = 100 * np.abs(seen["accuracy_with_more"] - right)[certain].mean()
        values["held, accuracy"] = held(
            *(
                one[certain]
                for one in (
                    right,
                    seen["accuracy_with_more"],
                    seen["accuracy_with_more_low"],
                    seen["accuracy_with_more_high"],
                    spread,
                )
            )
        ).mean()
        for key, value in values.items():
            found.setdefault(key, []).append(float(value))
    means = {key: np.mean(values) for key, values in found.items()}
    return (
        name,
        *(f"{means[key]:.2f}" for key in ("now", "then")),
        f"{means['off']:.2f}",
        f"{means['held']:.2f}",
        *(f"{means[key]:.2f}" for key in ("now, accuracy", "then, accuracy")),
        f"{means['off, accuracy']:.1f}",
        f"{means['held, accuracy']:.2f}",
    )


AHEAD = (
    *("task", "τ now", "τ foreseen", "risk off, %", "held"),
    *("τ now, accuracy", "foreseen", "accuracy off, points", "held"),
)
"""Headings of the table of forecasts."""
