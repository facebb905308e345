"""Every chart of the report, as data; nothing here waits for matplotlib."""

from collections.abc import Sequence

from rmtgen.report.chart import Chart
from rmtgen.report.chart_alignment import alignment_chart
from rmtgen.report.chart_forecast import forecast_chart
from rmtgen.report.chart_law import law_chart
from rmtgen.report.chart_learning import learning_chart
from rmtgen.report.chart_prediction import prediction_chart
from rmtgen.report.chart_ridges import ridges_chart
from rmtgen.report.chart_runs import labelled
from rmtgen.report.chart_scaling import scaling_chart
from rmtgen.report.chart_spectra import spectra_chart
from rmtgen.report.chart_theories import theories_chart
from rmtgen.report.results import RunResult

ALWAYS = (prediction_chart, learning_chart, ridges_chart, spectra_chart)
WITH_THEORY = {
    "predictions": theories_chart,
    "curves": alignment_chart,
    "forecast": forecast_chart,
    "scaling": scaling_chart,
    "local_law": law_chart,
}
"""Charts by the table of the `theory` stage that they need of one run at least."""


def charts(results: Sequence[RunResult]) -> list[Chart]:
    """Every chart that there is something for, in the order of the report.

    Raises:
        UsageError: no runs, or two with one name.
    """
    runs = labelled(results)
    tables = {name for run in runs for name in run.theory}
    return [
        chart(runs)
        for chart in (*ALWAYS, *(chart for name, chart in WITH_THEORY.items() if name in tables))
    ]
