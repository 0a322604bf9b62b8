"""The two spellings of weight norm: ``weight_g``/``weight_v``, and torch's parametrizations."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from convcore.errors import UsageError

OPTION = "weight-norm"
_REMEDY = f"leave out {OPTION}, or name the tensors with OLD=NEW"


def respelt(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, str]:
    """Return the names that weight norm has in its other spelling: old name to new.

    ``conv.weight_g`` and ``conv.weight_v`` (``torch.nn.utils.weight_norm``) are
    ``conv.parametrizations.weight.original0`` and ``…original1`` (the one in
    ``torch.nn.utils.parametrizations``): magnitude and direction, of the same shapes.

    Args:
        shapes: Name of every tensor to its shape.

    Raises:
        UsageError: There is none, both spellings are there, or the shapes are not weight norm's.
    """
    found = {old: list(pairs(shapes, old_spelling=old)) for old in (True, False)}
    if found[True] and found[False]:
        one, other = found[True][0][0], found[False][0][0]
        raise UsageError(f"weight norm has both spellings here: {one} and {other}", remedy=_REMEDY)
    names: dict[str, str] = {}
    for magnitude, direction, *others in found[True] or found[False]:
        g, v = shapes[magnitude], shapes[direction]
        if g and not (len(g) == len(v) and all(m in (1, n) for m, n in zip(g, v, strict=True))):
            raise UsageError(
                f"{magnitude} {list(g)} and {direction} {list(v)} are no weight norm's: one "
                "is no magnitude of the other",
                remedy=_REMEDY,
            )
        names |= dict(zip((magnitude, direction), others, strict=True))
    if not names:
        raise UsageError(
            "no tensors are named as weight norm names them",
            seen=["neither weight_g and weight_v, nor parametrizations.weight.original0 and 1"],
            remedy=f"leave out {OPTION}",
        )
    return names


def pairs(
    names: Mapping[str, object], *, old_spelling: bool
) -> Iterator[tuple[str, str, str, str]]:
    """Yield magnitude and direction as they are spelt, and both in the other spelling."""
    for name in names:
        owner, dot, last = name.rpartition(".")
        if old_spelling and last.startswith("weight") and last.endswith("_g"):
            stem = name[:-2]
            home = f"{owner}{dot}parametrizations.{last[:-2]}."
            other = f"{stem}_v", f"{home}original0", f"{home}original1"
        elif not old_spelling and last == "original0":
            above, _, parameter = owner.rpartition(".")
            outer, dot, word = above.rpartition(".")
            if word != "parametrizations" or not parameter.startswith("weight"):
                continue
            stem = f"{outer}{dot}{parameter}"
            other = f"{owner}.original1", f"{stem}_g", f"{stem}_v"
        else:
            continue
        if other[0] in names:
            yield name, *other
