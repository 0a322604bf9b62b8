"""What pytest loads: the suites explain their assertions, and a fixture gives the registry."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from convcore.host.registry import Registry
    from convcore.testing.case import Case

pytest.register_assert_rewrite(
    "convcore.testing.conversions",
    "convcore.testing.layouts",
    "convcore.testing.sources",
    "convcore.testing.suite",
    "convcore.testing.targets",
)


@pytest.fixture(scope="session")
def convcore_registry() -> Registry:
    """Everything that the installed plugins declare."""
    from convcore.host.registry import load_registry

    return load_registry()


@pytest.fixture(scope="session")
def convcore_cases() -> dict[type, Case]:
    """What the suites of this session have made so far: one case per class."""
    return {}
