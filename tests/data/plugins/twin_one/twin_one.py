"""Bears the name of another plugin, and declares a layout of its own."""

from convcore import Component, Layout, hookimpl

convcore_api = 2


@hookimpl
def convcore_layouts():
    return [Layout("first-twin", "a layout", [Component("part", "first.")])]
