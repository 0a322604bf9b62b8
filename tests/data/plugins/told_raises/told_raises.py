"""Fails when it is told of a conversion."""

from convcore import hookimpl

convcore_api = 2


@hookimpl
def convcore_converted(report):
    raise RuntimeError("no connection")
