"""report: one self-contained page, a model card and plots from what the other stages wrote."""

from pathlib import Path

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params_file import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.report.card import model_card
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.report.page import gather, render
from arpgnet.pipeline.report.still_plots import still_plots
from arpgnet.pipeline.report.targets import (
    claim,
    is_of_targets,
    render_targets,
    targets_card,
    targets_plots,
)

PAGE = Path("reports/index.html")
CHARTS = Path("reports/charts")


def main() -> None:
    results = gather(load_params())
    targets = is_of_targets(results)
    page = render_targets(results) if targets else render(results)
    card = targets_card(results) if targets else model_card(results)
    plots = targets_plots(results) if targets else still_plots(results)
    write_whole(PAGE, page.encode())
    write_whole(CARD, card.encode())
    for name, text in plots.items():
        write_whole(CHARTS / name, text.encode())
    print(f"report: {claim(results) if targets else results.verdict} The page: {PAGE}")


if __name__ == "__main__":
    run(main)
