"""What the three suites share: how their author speaks to them, and one test all of them make."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import ClassVar

import pytest

from convcore.layouts.layout import Layout
from convcore.testing.case import Case
from convcore.testing.processes import declared


class Suite:
    """Base of the suites; subclass one of them, not this.

    Attributes:
        kind: What is tested.
        config: ``--config`` values that the conversions are given.
        targets: What is converted to, where that is not what is tested.
        layout_file: A layout in TOML, where no plugin brings the layout.
    """

    kind: ClassVar[str]
    config: ClassVar[Mapping[str, str]] = {}
    targets: ClassVar[tuple[str, ...]] = ("pth", "safetensors", "state-dict")
    layout_file: ClassVar[str | PathLike[str] | None] = None

    @property
    def subject(self) -> str:
        """Name of the thing under test."""
        name: str | None = getattr(self, self.kind.removesuffix("s"), None)
        assert name, f"{type(self).__name__} has to say {self.kind.removesuffix('s')} = …"
        return name

    @property
    def layout_name(self) -> str | None:
        """The layout that conversions name; None has it recognised."""
        return None

    def own_layouts(self) -> Iterable[Layout]:
        """Layouts that only the suite knows."""
        return ()

    def make(self, folder: Path) -> Path:
        """Write a tiny checkpoint below ``folder`` and return its path (a file or a folder)."""
        raise NotImplementedError(
            f"{type(self).__name__} has to define make(self, folder): write a tiny checkpoint "
            "below the folder and return its path"
        )

    @pytest.fixture
    def case(
        self, convcore_cases: dict[type, Case], tmp_path_factory: pytest.TempPathFactory
    ) -> Case:
        """The suite's subject, made once for all its tests."""
        mine = type(self)
        if mine not in convcore_cases:
            convcore_cases[mine] = Case(self, tmp_path_factory.mktemp(mine.__name__))
        return convcore_cases[mine]

    def test_declaring_it_imports_nothing_heavy(self, case: Case) -> None:
        """Torch and the like are imported when something is done, not when it is declared."""
        if case.plugin is None:
            pytest.skip("a layout file is no plugin")

        heavy = declared(case.plugin.name).heavy

        assert not heavy, f"importing {case.plugin.value} imports {', '.join(sorted(heavy))}"

    def test_its_plugin_is_sound(self, case: Case) -> None:
        """Nothing is said of the plugin by ``convcore plugins`` but its name and what it brings."""
        if case.plugin is None:
            pytest.skip("a layout file is no plugin")

        assert not declared(case.plugin.name).complaints
        assert case.thing.summary.strip(), "say in summary what it is, for convcore plugins"
