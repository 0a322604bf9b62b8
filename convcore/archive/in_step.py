"""The former place of ``convcore.tensors.in_step``; use that."""

from convcore.tensors.in_step import *  # noqa: F403  # for those that still name it so
