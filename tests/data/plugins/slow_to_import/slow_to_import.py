"""Takes its time; works otherwise."""

import time

from convcore import Component, Layout, hookimpl

convcore_api = 2

time.sleep(0.7)


@hookimpl
def convcore_layouts():
    return [Layout("slow", "a layout", [Component("part", "slow.")])]
