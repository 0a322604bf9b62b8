"""Means convcore_layouts."""

from convcore import Component, Layout, hookimpl


@hookimpl
def convcore_layout():
    return [Layout("misspelt", "a layout", [Component("part", "misspelt.")])]
