"""report: one self-contained page and a model card from everything the other stages wrote."""

from pathlib import Path

from arpgnet.pipeline.common.files import write_whole
from arpgnet.pipeline.common.params import load_params
from arpgnet.pipeline.common.stage import run
from arpgnet.pipeline.report.card import model_card
from arpgnet.pipeline.report.location import CARD
from arpgnet.pipeline.report.page import gather, render

PAGE = Path("reports/index.html")


def main() -> None:
    results = gather(load_params())
    write_whole(PAGE, render(results).encode())
    write_whole(CARD, model_card(results).encode())
    print(f"report: {results.verdict} The page: {PAGE}")


if __name__ == "__main__":
    run(main)
