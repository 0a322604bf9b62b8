"""Its hook fails."""

from convcore import hookimpl

convcore_api = 2


@hookimpl
def convcore_targets():
    raise KeyError("settings")
