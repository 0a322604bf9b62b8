"""The former place of ``convcore.formats.safetensors``; use that."""

from convcore.formats.safetensors import *  # noqa: F403  # for those that still name it so
