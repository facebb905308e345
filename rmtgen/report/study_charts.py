"""The charts of a study: those of a report, without a run's directory."""

from pathlib import Path

from rmtgen.report.charts import make_charts
from rmtgen.report.figure_files import FigureFile, save_figures
from rmtgen.report.run_result import RunResult
from rmtgen.report.run_set import RunSet
from rmtgen.theory.study import Study


def study_figures(study: Study, folder: str | Path, *, name: str = "study") -> list[FigureFile]:
    """Draw every chart that a study has data for, and write each as SVG, PNG and PDF.

    Args:
        study: A study with a test set, from `rmtgen.study`.
        folder: Folder of the files, made where it is missing.
        name: Name of the study in the charts.

    Raises:
        StorageError: The disk refuses a write.

    Warns:
        RmtgenWarning: An analysis is left out, as by `Study.tables`.
    """
    result = RunResult(
        name=name,
        model=name,
        init=f"N = {len(study.pool):,}",
        dataset="pool",
        kernel="gram",
        config={"targets": "intercept" if study.pool.targets.intercept else "given"},
        risk=study.risk,
        spectrum=study.spectra.largest,
        curve=study.curve,
        theory=study.tables(),
    )
    return save_figures(make_charts(RunSet.of([result])), Path(folder))
