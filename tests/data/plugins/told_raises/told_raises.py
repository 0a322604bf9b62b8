"""Fails when it is told of a conversion."""

from convcore import hookimpl


@hookimpl
def convcore_converted(report):
    raise RuntimeError("no connection")
