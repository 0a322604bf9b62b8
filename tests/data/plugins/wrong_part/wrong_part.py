"""Declares a layout whose components are names."""

from convcore import Layout, hookimpl

convcore_api = 2


@hookimpl
def convcore_layouts():
    return [Layout("parts", "a layout", ["generator."])]
