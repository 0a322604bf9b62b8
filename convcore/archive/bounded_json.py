"""The former place of ``convcore.formats.bounded_json``; use that."""

from convcore.formats.bounded_json import *  # noqa: F403  # for those that still name it so
