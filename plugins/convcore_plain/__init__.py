"""Layout ``plain``: any sound checkpoint as one component, chosen by name only."""

from __future__ import annotations

from convcore import Component, Layout, hookimpl

convcore_api = 2


@hookimpl
def convcore_layouts() -> list[Layout]:
    """Declare the layout."""
    return [
        Layout(
            "plain",
            "every tensor of the state dict as one component, whatever the model is",
            [Component("model", "*", whole_names=True)],
            automatic=False,
        )
    ]
