"""The former place of ``convcore.tensors.opened``; use that."""

from convcore.tensors.opened import *  # noqa: F403  # for those that still name it so
