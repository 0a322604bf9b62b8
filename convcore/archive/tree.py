"""The former place of ``convcore.formats.tree``; use that."""

from convcore.formats.tree import *  # noqa: F403  # for those that still name it so
