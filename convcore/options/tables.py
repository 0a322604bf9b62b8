"""All tables, for what goes through them."""

from __future__ import annotations

from collections.abc import Mapping

from convcore.noun import Noun
from convcore.options.comparing import DiffOptions
from convcore.options.looking import InspectOptions
from convcore.options.timing import BenchOptions
from convcore.options.verifying import VerifyOptions
from convcore.options.writing import ConvertOptions

# Each command, with what it takes.
TABLES: Mapping[str, type[Noun]] = {
    "convert": ConvertOptions,
    "inspect": InspectOptions,
    "verify": VerifyOptions,
    "diff": DiffOptions,
    "bench": BenchOptions,
}
