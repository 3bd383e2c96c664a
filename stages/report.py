"""report: one self-contained page from everything the other stages wrote."""

from pathlib import Path

from pipeline.config import load_params
from pipeline.report.page import gather, render
from pipeline.stage import run

PAGE = Path("reports/index.html")


def main() -> None:
    html = render(gather(load_params()))
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(html, encoding="utf-8")


if __name__ == "__main__":
    run(main)
