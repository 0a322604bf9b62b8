"""``python -m convcore``."""

from convcore.cli import run

if __name__ == "__main__":
    run()
