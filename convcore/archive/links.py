"""The former place of ``convcore.formats.links``; use that."""

from convcore.formats.links import *  # noqa: F403  # for those that still name it so
