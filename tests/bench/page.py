"""The report page of 50 runs with theory: time to make, size, time to open and to draw.

Chromium opens the page. `make bench BENCH=page`.
"""

import dataclasses
import shutil
import sys
import tempfile
from pathlib import Path

from tests.bench.machine import timed

sys.path.insert(0, str(Path(__file__).parents[1] / "browser"))
from report_pages import page_of, three_runs

RUNS = 50


def main() -> None:
    """Print one line per quantity."""
    from playwright.sync_api import sync_playwright

    theory = [run for run in three_runs() if run.theory]
    runs = [
        dataclasses.replace(theory[place % 2], name=f"net-{place}", model=f"net_{place // 2}")
        for place in range(RUNS)
    ]
    seconds, html = timed(lambda: page_of(runs))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as play:
        path = Path(folder) / "report.html"
        path.write_text(html, "utf-8")
        print(
            f"page of {RUNS} runs     {seconds:6.1f} s to make, {path.stat().st_size / 1e6:.1f} MB"
        )
        chromium = play.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox"]
        )
        page = chromium.new_page()
        for what, work in (
            ("opened", lambda: opened(page, path)),
            ("all charts drawn", lambda: drawn(page)),
        ):
            print(f"{what:<18} {timed(work)[0]:6.2f} s")
        chromium.close()


def opened(page, path):
    """Load the page, up to where its script is done."""
    page.goto(path.as_uri())
    page.wait_for_selector("html.ready")


def drawn(page):
    """Scroll to every chart."""
    for chart in page.query_selector_all("figure.chart"):
        chart.scroll_into_view_if_needed()
        page.wait_for_function(
            "chart => chart.querySelectorAll('.canvas > svg').length === 2", arg=chart
        )


if __name__ == "__main__":
    main()
