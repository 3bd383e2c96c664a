"""report: one self-contained page, a model card and plots from what the other stages wrote."""

from pathlib import Path

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.report.card import model_card
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.report.page import gather, render
from arpgnet.pipeline.report.still_plots import still_plots

PAGE = Path("reports/index.html")
CHARTS = Path("reports/charts")


def main() -> None:
    results = gather(load_params())
    write_whole(PAGE, render(results).encode())
    write_whole(CARD, model_card(results).encode())
    for name, text in still_plots(results).items():
        write_whole(CHARTS / name, text.encode())
    print(f"report: {results.verdict} The page: {PAGE}")


if __name__ == "__main__":
    run(main)
