"""The former place of ``convcore.tensors.dtypes``; use that."""

from convcore.tensors.dtypes import *  # noqa: F403  # for those that still name it so
