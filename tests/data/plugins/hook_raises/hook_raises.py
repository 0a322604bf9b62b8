"""Its hook fails."""

from convcore import hookimpl


@hookimpl
def convcore_targets():
    raise KeyError("settings")
