"""The former place of ``convcore.formats.budgets``; use that."""

from convcore.formats.budgets import *  # noqa: F403  # for those that still name it so
