"""The former place of ``convcore.tensors.faults``; use that."""

from convcore.tensors.faults import *  # noqa: F403  # for those that still name it so
