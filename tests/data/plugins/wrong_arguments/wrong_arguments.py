"""Expects what no hook is given."""

from convcore import hookimpl

convcore_api = 2


@hookimpl
def convcore_converted(output_folder):
    raise AssertionError("never called")
