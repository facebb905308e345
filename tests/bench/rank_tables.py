"""Tables of the benchmark of rankings, from the numbers of every task and representation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rmtgen.ranking.rivals import RIVALS
from rmtgen.ranking.rivals.facts import ModelFacts
from rmtgen.tables import Table
from tests.bench.rank_features import LAST, LITES, WIDTHS, Network, Representation
from tests.bench.rank_order import over_tasks, regret, tau, within
from tests.bench.rank_scores import METHODS, Found
from tests.bench.rank_tasks import Task

OURS = {
    "LOO risk": ("loo", "score"),
    "LOO accuracy": ("loo", "accuracy"),
    "LOO risk, unit variance": ("standardised", "score"),
}
"""Scores of rmtgen's by their title: where they are kept."""
FIRST = next(iter(OURS))
"""The score that rmtgen ranks by."""
TRUTHS = {
    "ridge risk": ("ridge", "risk"),
    "ridge accuracy": ("ridge", "accuracy"),
    "logistic accuracy": ("logistic", "accuracy"),
}
"""What scores are held against, likewise."""
YARDSTICK = "logistic_probe"
"""The method that seconds are held against."""

Judge = Callable[[Task, np.ndarray, np.ndarray], float]
"""What a score is worth on a task, from the truth and the score of each representation."""


@dataclass(frozen=True, eq=False)
class Results:
    """All numbers of some tasks.

    Attributes:
        tasks: The tasks.
        shown: The representations.
        widths: Number of features of each.
        parameters: Their number, by model.
        found: What is kept, by task and representation.
    """

    tasks: Sequence[Task]
    shown: Sequence[Representation]
    widths: np.ndarray
    parameters: Mapping[str, int]
    found: Mapping[tuple[str, str], Mapping[str, Found]]

    def column(self, task: Task, kind: str, key: str) -> np.ndarray:
        """A number of each representation; NaN where there is none."""
        kept = (self.found[task.name, str(one)].get(kind, {}) for one in self.shown)
        return np.array([one.get(key, np.nan) for one in kept])

    def truth(self, task: Task, title: str) -> np.ndarray:
        """A truth of which more is better."""
        kind, key = TRUTHS[title]
        return (-1.0 if key == "risk" else 1.0) * self.column(task, kind, key)

    def scores(self, task: Task) -> dict[str, np.ndarray]:
        """Scores of the representations by title of the method, of those that apply to all."""
        ours = {title: self.column(task, *place) for title, place in OURS.items()}
        models = [
            ModelFacts(one.network.model, self.parameters[one.network.model], one.network.top1)
            for one in self.shown
        ]
        rivals = {
            rival.title: self.column(task, name, "score")
            if rival.needs != "facts"
            else rival.score(models)
            for name, rival in RIVALS.items()
            if self._applies(name)
        }
        return {**ours, **rivals}

    def _applies(self, name: str) -> bool:
        """Whether a rival has what it needs of every representation."""
        if name == "imagenet_top1":
            return all(one.has_head and one.network.top1 for one in self.shown)
        heads = all(one.has_head for one in self.shown)
        return RIVALS[name].needs != "probabilities" or heads

    def judged(self, truth: str, judge: Judge) -> dict[str, list[float]]:
        """What each method is worth, task by task, against a truth."""
        found: dict[str, list[float]] = {}
        for task in self.tasks:
            known = self.truth(task, truth)
            for title, scores in self.scores(task).items():
                found.setdefault(title, []).append(judge(task, known, scores))
        return found

    def subset(self, kept: Sequence[bool]) -> "Results":
        """The same of some representations."""
        shown = [one for one, own in zip(self.shown, kept, strict=True) if own]
        return replace(self, shown=shown, widths=self.widths[np.asarray(kept)])


def plain_tau(_task: Task, truth: np.ndarray, scores: np.ndarray) -> float:
    """τ as a judge."""
    return tau(truth, scores)


def plain_regret(_task: Task, truth: np.ndarray, scores: np.ndarray) -> float:
    """Regret in points of accuracy as a judge."""
    return 100 * regret(truth, scores)


def short(value: float, digits: int = 2) -> str:
    """A number; with two digits without the 0 before its point."""
    words = f"{round(value, digits) + 0.0:.{digits}f}"
    return words.replace("0.", ".", 1) if digits == 2 and abs(float(words)) < 1 else words


def interval(values: Sequence[float], digits: int = 2) -> str:
    """The mean over tasks with its interval."""
    mean, low, high = (short(one, digits) for one in over_tasks(np.asarray(values)))
    return f"{mean} [{low}, {high}]"


def table(columns: Sequence[tuple[str, Mapping[str, str]]]) -> Table:
    """A table of columns with their headings, each of cells by the title of a method."""
    titles = max((own for _, own in columns), key=len)  # the others are parts of it, in its order
    rows = ((title, *(own.get(title, "–") for _, own in columns)) for title in titles)
    return Table(("method", *(heading for heading, _ in columns)), tuple(rows))


def cells(values: Mapping[str, Sequence[float]], digits: int = 2) -> dict[str, str]:
    """Means over tasks with their intervals."""
    return {title: interval(own, digits) for title, own in values.items()}


def overall(results: Results) -> Table:
    """Every method against every truth, over all representations."""
    columns = [(f"τ, {truth}", cells(results.judged(truth, plain_tau))) for truth in TRUTHS]
    for truth, heading in (("ridge accuracy", "regret, ridge"), ("logistic accuracy", "logistic")):
        columns.append((heading, cells(results.judged(truth, plain_regret), 1)))
    return table(columns)


def apart(results: Results) -> Table:
    """τ within classes of size, and τ of the first method less that of each."""
    groups = np.digitize(results.widths, [high for _, high in WIDTHS.values()][:-1])

    def inside(_task: Task, truth: np.ndarray, scores: np.ndarray) -> float:
        return within(truth, scores, groups)

    truths, columns = ("ridge risk", "logistic accuracy"), []
    for truth in truths:
        columns.append((f"within, {truth}", cells(results.judged(truth, inside))))
    for truth in truths:
        taus = results.judged(truth, plain_tau)
        gains = {
            title: np.subtract(taus[FIRST], own) for title, own in taus.items() if title != FIRST
        }
        columns.append((f"behind, {truth}", cells(gains)))
    return table(columns)


def costs(results: Results, largest: Sequence[str]) -> Table:
    """Seconds of processor time of all tasks together, and of those of the largest that are there,
    by their names."""
    titles = {"loo": FIRST, "probe": "with intervals, forecasts"}
    titles |= {name: RIVALS[name].title for name in METHODS if name in RIVALS}
    columns = []
    names = [task.name for task in results.tasks]
    for heading in ("all tasks", *(name for name in largest if name in names)):
        tasks = [task for task in results.tasks if heading in ("all tasks", task.name)]
        seconds = {
            kind: sum(results.column(task, kind, "seconds").sum() for task in tasks)
            for kind in titles
        }
        known = {titles[kind]: own for kind, own in seconds.items() if np.isfinite(own)}
        columns.append((heading, {title: f"{own:,.0f}" for title, own in known.items()}))
        ratios = {title: short(own / seconds[YARDSTICK]) for title, own in known.items()}
        columns.append(("ratio", ratios))
    return table(columns[2:] + columns[:2])


def by_task(results: Results) -> Table:
    """Each task: τ of leave-one-out beside that of the best rival there."""
    rows = []
    for place, task in enumerate(results.tasks):
        row = [task.name, f"{len(task.rows['train']):,}"]
        row.append(f"{100 * results.truth(task, 'logistic accuracy').max():.1f}")
        for truth, ours in (("ridge risk", 1), ("logistic accuracy", 2)):
            taus = {title: own[place] for title, own in results.judged(truth, plain_tau).items()}
            best = max((title for title in taus if title not in OURS), key=taus.__getitem__)
            row += [short(taus[title]) for title in list(OURS)[:ours]]
            row.append(f"{short(taus[best])} {best}")
        rows.append(tuple(row))
    headings = (
        *("task", "n", "best, %", "ridge: LOO", "best rival"),
        *("logistic: LOO", "accuracy", "best rival"),
    )
    return Table(headings, tuple(rows), "<>>><>><")


def heads(results: Results) -> Table:
    """Trained networks with their classifiers, where NCE and LEEP apply; those of ImageNet, whose
    accuracy there is known."""
    own = results.subset([one.has_head for one in results.shown])
    lites = own.subset([one.network.model in LITES for one in own.shown])
    columns = [
        (heading, cells(some.judged("logistic accuracy", judge), digits))
        for some, judge, heading, digits in (
            (lites, plain_tau, f"τ of {len(lites.shown)} of ImageNet", 2),
            (lites, plain_regret, "regret", 1),
            (own, plain_tau, f"τ of {len(own.shown)}", 2),
            (own, plain_regret, "regret", 1),
        )
    ]
    return table(columns)


def fine_tuned(results: Results, accuracies: Mapping[tuple[str, str], float]) -> Table:
    """τ and regret with the accuracy of fine-tuned networks, by task, and those of the probes."""
    networks = {name for _, name in accuracies}
    own = results.subset(
        [one.layer == LAST and str(one.network) in networks for one in results.shown]
    )
    columns = []
    for task in (one for one in own.tasks if (one.name, str(own.shown[0].network)) in accuracies):
        truth = np.array([accuracies[task.name, str(one.network)] for one in own.shown])
        scores = own.scores(task) | {f"measured {name}": own.truth(task, name) for name in TRUTHS}
        judged = {title: tau(truth, one) for title, one in scores.items()}
        columns.append((f"τ, {task.name}", {title: short(one) for title, one in judged.items()}))
        lost = {title: f"{100 * regret(truth, one):.1f}" for title, one in scores.items()}
        columns.append(("regret", lost))
    return table(columns)


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
