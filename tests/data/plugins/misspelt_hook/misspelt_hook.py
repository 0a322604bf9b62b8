"""Means convcore_layouts."""

from convcore import Component, Layout, hookimpl

convcore_api = 2


@hookimpl
def convcore_layout():
    return [Layout("misspelt", "a layout", [Component("part", "misspelt.")])]
