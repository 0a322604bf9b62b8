"""The former place of ``convcore.formats.joblib``; use that."""

from convcore.formats.joblib import *  # noqa: F403  # for those that still name it so
