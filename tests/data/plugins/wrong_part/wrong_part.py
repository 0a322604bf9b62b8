"""Declares a layout whose components are names."""

from convcore import Layout, hookimpl


@hookimpl
def convcore_layouts():
    return [Layout("parts", "a layout", ["generator."])]
