"""Takes its time; works otherwise."""

import time

from convcore import Component, Layout, hookimpl

time.sleep(0.7)


@hookimpl
def convcore_layouts():
    return [Layout("slow", "a layout", [Component("part", "slow.")])]
