"""Its source fails whenever it looks at a file."""

from convcore import Source, hookimpl

convcore_api = 2


def read(given):
    return given.archive.tree["a key that is not there"]


@hookimpl
def convcore_sources():
    return [Source("hasty", "a source", read)]
