"""explain: what the networks attend to, and whether hiding it makes a difference."""

from pipeline.explain.run import explain
from pipeline.stage import run


def main() -> None:
    explain()


if __name__ == "__main__":
    run(main)
