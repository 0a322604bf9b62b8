"""``python -m convcore``."""

import sys

if __name__ == "__main__":
    # ``-m`` puts the current directory first, where anybody may have left a json.py. Nothing but
    # the built-in sys is imported before this, not even __future__.
    if not sys.flags.safe_path:
        del sys.path[0]
    from convcore.cli import run

    run()
