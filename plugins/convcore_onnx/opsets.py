"""The operator sets that are written."""

from __future__ import annotations

DEFAULT_OPSET = 20
# torch exports 18 natively and converts to its neighbours; from 23 on a file needs an IR version
# that current runtimes refuse.
OPSETS = range(17, 23)
