"""Expects what no hook is given."""

from convcore import hookimpl


@hookimpl
def convcore_converted(output_folder):
    raise AssertionError("never called")
