"""Its layout fails whenever a checkpoint is held against it."""

from convcore import Component, Layout, hookimpl

convcore_api = 2


def schema(tensors):
    return tensors["a key that is not there"]


@hookimpl
def convcore_layouts():
    return [Layout("hasty", "a layout", [Component("part", "*")], schema=schema)]
