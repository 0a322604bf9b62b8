"""Speaks on stdout, where the one JSON document belongs; works otherwise."""

from convcore import Component, Layout, hookimpl

convcore_api = 2

print("Thank you for installing prints_on_import!")


@hookimpl
def convcore_layouts():
    return [Layout("talkative", "a layout", [Component("part", "talkative.")])]
