"""The conformance suite: subclass one of three classes, name what to test, make a tiny checkpoint.

    from convcore.testing import LayoutSuite

    class TestPix2pix(LayoutSuite):
        layout = "pix2pix"

        def make(self, folder):
            path = folder / "last.ckpt"
            torch.save({"state_dict": Pix2pix(width=4).state_dict()}, path)
            return path

The plugin has to be installed (``pip install -e .``), because it is tested as users meet it:
through its entry point. ``pip install convcore[testing]`` brings pytest and jsonschema.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from convcore.testing.layouts import LayoutSuite
    from convcore.testing.sources import SourceSuite
    from convcore.testing.targets import TargetSuite

__all__ = ["LayoutSuite", "SourceSuite", "TargetSuite"]

_HOMES = {"LayoutSuite": "layouts", "SourceSuite": "sources", "TargetSuite": "targets"}

if not TYPE_CHECKING:  # pytest loads the package in every run of its user: it must stay light

    def __getattr__(name: str) -> object:
        from importlib import import_module

        if name not in _HOMES:
            raise AttributeError(f"module 'convcore.testing' has no attribute {name!r}")
        return getattr(import_module(f"convcore.testing.{_HOMES[name]}"), name)
