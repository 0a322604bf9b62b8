"""Declares names where layouts belong."""

from convcore import hookimpl

convcore_api = 2


@hookimpl
def convcore_layouts():
    return ["cyclegan"]
