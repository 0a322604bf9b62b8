"""The verbs of the Python interface: methods of one session that all who import this share."""

from __future__ import annotations

from convcore.session import Session

_SHARED = Session()

open_checkpoint = _SHARED.open_checkpoint
inspect = _SHARED.inspect
convert = _SHARED.convert
verify = _SHARED.verify
diff = _SHARED.diff
