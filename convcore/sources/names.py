"""Names of tensors and networks: without what only wraps, and told from one another."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any

from convcore.formats.tree import part_name
from convcore.names import counted, few
from convcore.sources.vocabulary import SUFFIXES, WRAPPERS
from convcore.tensors import LazyTensor

# The one wrapper's prefix that may as well be an attribute of the class that was trained.
ATTRIBUTE = "model."
# Wrapper classes put these before the names the author wrote.
PREFIXES = (
    "module.", "_orig_mod.", "_forward_module.", "_fsdp_wrapped_module.",
    "_checkpoint_wrapped_module.", ATTRIBUTE,
)  # fmt: skip
# Those of wrappers that may lie around any module inside, and what wraps them.
INSIDE = {
    "_orig_mod.": "torch.compile",
    "_fsdp_wrapped_module.": "FSDP",
    "_checkpoint_wrapped_module.": "activation checkpointing",
}
_NO_STEM = re.compile(r"[^A-Za-z0-9_.-]+")


def key_text(key: Any) -> str:
    """Return a key as the name of its tensor: text as it is, all else as Python prints it."""
    # A number of a million digits would take minutes to print.
    return key if type(key) is str else part_name(key) if type(key) is int else str(key)


def unlike(name: str, taken: Container[str]) -> str:
    """Return a name, with ``#2`` and so on where it is taken."""
    unique, count = name, 2
    while unique in taken:
        unique, count = f"{name}#{count}", count + 1
    return unique


def unprefixed(names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Strip wrapper prefixes that all keys carry, repeatedly, in whatever order they nest.

    Returns:
        Original key to the key without wrappers, and sentences saying what was removed.
    """
    short = {key: key for key in names}
    said = []
    removed = ""
    while short:
        for prefix in PREFIXES:
            if all(key.startswith(prefix) and key != prefix for key in short.values()):
                short = {key: name[len(prefix) :] for key, name in short.items()}
                removed += prefix
                break
        else:
            break
    if removed:
        # A layout's own class has no such attribute; of an unknown one, nobody can tell.
        kept = f"; state-dict files of no known layout keep {ATTRIBUTE!r}"
        kept = kept if ATTRIBUTE[:-1] in removed.split(".") else ""
        said.append(f"removed the prefix {removed!r} from all {len(short)} keys{kept}")
    text = "\n".join(short.values())  # searched at once: most models have none of them
    for wrapper, what in INSIDE.items():
        if f".{wrapper}" not in text:
            continue
        inner = {key: _without(name, wrapper) for key, name in short.items()}
        if inner != short and len(set(inner.values())) == len(inner):
            count = sum(inner[key] != short[key] for key in short)
            said.append(f"removed {wrapper!r} ({what}) inside {count} keys")
            short, text = inner, "\n".join(inner.values())
    return short, said


def _without(name: str, wrapper: str) -> str:
    while f".{wrapper}" in name:
        name = name.replace(f".{wrapper}", ".")
    return name


def authored(name: str, original: str) -> str:
    """Return the name a tensor has in the class that was trained: without wrappers' prefixes.

    Args:
        name: Its name in the checkpoint, less everything that ``unprefixed`` takes off.
        original: Its key in the file.
    """
    key = original
    for wrapper in INSIDE:
        key = _without(key, wrapper)
    removed = key.removesuffix(name)
    parts = removed.split(".") if removed != key else ()
    return ATTRIBUTE * parts.count(ATTRIBUTE[:-1]) + name


def network_names(paths: Sequence[tuple[str, ...]]) -> list[str]:
    """Name networks after their places in the file, less what only wraps.

    Wrappers' names stay where they are all there is to tell networks apart:
    ``{"model": …, "critic": …}`` gives ``model`` and ``critic``.
    """
    spelt = [_spellings(path) for path in paths]
    names = [options[0] for options in spelt]
    for level in (1, 2):
        counts = Counter(names)
        names = [
            options[level] if not name or counts[name] > 1 else name
            for name, options in zip(names, spelt, strict=True)
        ]
    taken: set[str] = set()
    for index, name in enumerate(names):
        stem = _NO_STEM.sub("_", name).lstrip(".-")[:100] or "model"
        unique, count = stem, 2
        while unique.casefold() in taken:
            unique, count = f"{stem}_{count}", count + 1
        taken.add(unique.casefold())
        names[index] = unique
    return names


def _spellings(path: tuple[str, ...]) -> tuple[str, str, str]:
    """A path less wrappers, with wrappers less suffixes, and as it stands."""
    bare = [_without_suffix(part) for part in path]
    told = [part for part in bare if part.lower() not in WRAPPERS]
    return ".".join(told), ".".join(bare), ".".join(path)


def _without_suffix(part: str) -> str:
    for suffix in SUFFIXES:
        part = part.removesuffix(suffix) or part
    return part


def without_wrappers(path: tuple[str, ...]) -> tuple[str, ...]:
    """Return a path less the entries that only wrap, and less their suffixes."""
    bare = map(_without_suffix, path)
    return tuple(part for part in bare if part.lower() not in WRAPPERS)


def turned_to_text(keys: Mapping[Any, Any]) -> list[str]:
    """Say which tensors have keys that are no text, and how they are called."""
    odd = [key for key, item in keys.items() if type(key) is not str and _is_tensor(item)]
    if not odd:
        return []
    kinds = ", ".join(sorted({type(key).__name__ for key in odd}))
    names = few([key_text(key)[:40] for key in odd])
    return [f"{counted(len(odd), 'key')} of type {kinds} became text: {names}"]


def _is_tensor(item: Any) -> bool:
    return isinstance(item, LazyTensor)
