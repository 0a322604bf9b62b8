"""Declares names where layouts belong."""

from convcore import hookimpl


@hookimpl
def convcore_layouts():
    return ["cyclegan"]
