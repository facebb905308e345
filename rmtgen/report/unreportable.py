"""Runs whose results are whole, and of which no report can be made: which ones, and why.

The numbers of a run that another tool made, or someone who means harm, can be such that no chart
can show them, though each file is what its manifest records.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence

from rmtgen.errors import CorruptInputError, RmtgenError
from rmtgen.report.run_result import RunResult


class UnreportableError(CorruptInputError):
    """No report can be made of some runs.

    Attributes:
        runs: The reason by the name of each of these runs.
    """

    def __init__(self, runs: Mapping[str, str]):
        self.runs = dict(runs)
        reasons = "; ".join(f"{name}: {why}" for name, why in self.runs.items())
        super().__init__(
            f"results must be as the stages write them, and those of {reasons}. Make them again, or"
            " leave the run out."
        )


@contextlib.contextmanager
def naming_culprits(results: Sequence[RunResult]) -> Iterator[None]:
    """A context that makes a report; where it fails, each run is tried alone.

    Raises:
        UnreportableError: It failed, and fails for some runs alone. Any other error stays as it is.
    """
    try:
        yield
    except RmtgenError:
        raise
    except Exception as error:
        culprits = {result.name: why for result in results if (why := _why(result))}
        if not culprits:
            raise
        raise UnreportableError(culprits) from error


def _why(result: RunResult) -> str:
    """Why no report can be made of one run; empty where one can."""
    # here, because they import matplotlib and Jinja, which a finished report does without
    from rmtgen.report.charts import make_charts
    from rmtgen.report.matplotlib_figure import WIDE, draw
    from rmtgen.report.page import render_page
    from rmtgen.report.run_set import RunSet
    from rmtgen.report.theory_scores import flat_scores

    try:
        alone = RunSet.of([result])
        charts = make_charts(alone)
        for chart in charts:
            draw(chart, WIDE)
        render_page(alone, charts, "", {})
        flat_scores(alone.scores)
        alone.summary.text()
    except Exception as error:  # whatever it is, it comes from this run
        what = " ".join(str(error).split())[:200]
        return f"cannot be shown ({type(error).__name__}: {what})"
    return ""
