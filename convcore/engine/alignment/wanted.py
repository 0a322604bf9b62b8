"""The keys that a class wants: of a file, a list in JSON, or a message of ``load_state_dict``."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.difference import named_tensors, opened
from convcore.errors import UsageError
from convcore.formats.bounded_json import read_json
from convcore.host.registry import Registry
from convcore.names import counted, few
from convcore.noun import Noun
from convcore.options import DiffOptions
from convcore.sources.source import Checkpoint

_LARGEST = 16 << 20
_MEAN, _COUNTER = "running_mean", "num_batches_tracked"
_MISSING = re.compile(r"Missing key\(s\) in state_dict:|missing_keys=\[")
_UNEXPECTED = re.compile(r"Unexpected key\(s\) in state_dict:|unexpected_keys=\[")
_MISMATCH = re.compile(
    r"size mismatch for (\S+): copying a param with shape (?:torch\.Size\()?[\[(]([\d, ]*)[\])]\)? "
    r"from checkpoint, the shape in current model is (?:torch\.Size\()?[\[(]([\d, ]*)[\])]"
)
_QUOTED = re.compile(r"\"([^\"\n]+)\"|'([^'\n]+)'")
_FORMS = (
    'a JSON list is {name: [sizes]}, [{"name": …, "shape": […]}] or what convcore inspect '
    "--tensors --json prints"
)


@attrs.frozen(eq=False, repr=False)
class Key(Noun):
    """A key of one side.

    Attributes:
        name: Without wrappers.
        shape: None where nobody says it, as in a message.
        author: In its class.
    """

    name: str
    shape: tuple[int, ...] | None
    author: str


def wanted_keys(asked: DiffOptions, registry: Registry) -> tuple[Checkpoint, list[Key], list[str]]:
    """Read both sides: the first, the keys that the second wants, and what is to be told of them.

    Raises:
        ConvcoreError: One of them cannot be read.
    """
    path = asked.second
    listed = _listed(path)
    message = None if listed is not None else _message(path)
    if listed is None and message is None:
        first, second = opened(asked, registry)
        return first, keys_of(second), []
    options = asked.opening() | {"rename": ()} | ({"key": asked.key_a} if asked.key_a else {})
    first = named_tensors(asked.first, registry, **options)
    if listed is not None:
        return first, listed, []
    assert message is not None  # one of the two is there
    return first, *_of_message(message, first, path)


def keys_of(checkpoint: Checkpoint) -> list[Key]:
    """Return the keys of a checkpoint, as its class has them."""
    return [
        Key(name, tensor.shape, checkpoint.author_name(name))
        for name, tensor in checkpoint.tensors.items()
    ]


def _listed(path: Path) -> list[Key] | None:
    """Return the keys of a list in JSON; None where it is something else, such as an index."""
    if path.suffix.lower() != ".json" or not path.is_file():
        return None
    content = read_json(path, largest=_LARGEST)
    if isinstance(content, dict) and "weight_map" in content:
        return None
    if isinstance(content, dict) and isinstance(content.get("tensors"), list):
        content = content["tensors"]
    found: dict[str, Key] = {}
    for name, shape in _entries(content):
        sizes = isinstance(shape, list) and all(type(size) is int and size >= 0 for size in shape)
        if not isinstance(name, str) or not sizes or name in found:
            raise UsageError(
                f"{path} is no list of names and shapes: {str([name, shape])[:100]}",
                seen=["the name stands twice"] if name in found else [_FORMS],
                remedy="write {k: list(v.shape) for k, v in model.state_dict().items()} as JSON",
            )
        found[name] = Key(name, tuple(shape), name)
    return list(found.values())


def _entries(content: Any) -> Iterator[tuple[Any, Any]]:
    for item in content.items() if isinstance(content, dict) else content or (None,):
        if isinstance(item, Mapping):
            yield item.get("name"), item.get("shape")
        elif isinstance(item, list | tuple) and len(item) == 2:
            yield item[0], item[1]
        else:
            yield None, item


def _message(path: Path) -> str | None:
    """Return the text of a message of ``load_state_dict``; None where the file holds none."""
    try:
        with path.open("rb") as file:
            text = file.read(_LARGEST).decode()
    except (OSError, ValueError):
        return None
    told = any(pattern.search(text) for pattern in (_MISSING, _UNEXPECTED, _MISMATCH))
    if not told and path.suffix.lower() in (".txt", ".log"):
        raise UsageError(
            f"{path} holds no message of load_state_dict",
            seen=["neither Missing key(s) nor Unexpected key(s) nor size mismatch for"],
            remedy="save the whole message of the RuntimeError in it",
        )
    return text if told else None


def _of_message(text: str, first: Checkpoint, path: Path) -> tuple[list[Key], list[str]]:
    """What the class wants: what the file has and the message does not name, and what is missing.

    A message tells the shapes of what does not fit, and of nothing that is missing.
    """
    missing, unexpected = (_quoted(text, pattern) for pattern in (_MISSING, _UNEXPECTED))
    others = {name: _sizes(shape) for name, _, shape in _MISMATCH.findall(text)}
    wanted, met = [], set()
    for key in keys_of(first):
        names = {key.author, key.name, first.original(key.name)}
        met |= names
        if names & others.keys():
            shape = next(others[name] for name in names if name in others)
            wanted.append(attrs.evolve(key, shape=shape))
        elif not names & set(unexpected):
            wanted.append(key)
    there = {key.author for key in wanted}
    if any(name.endswith(_COUNTER) for name in unexpected):
        # torch fills in the counters that a file lacks, and does not call them missing.
        means = [name.removesuffix(_MEAN) for name in missing if name.endswith(f".{_MEAN}")]
        missing += [f"{home}{_COUNTER}" for home in means if f"{home}{_COUNTER}" not in missing]
    wanted += [Key(name, None, name) for name in missing if name not in there]
    notes = ["a message does not tell the shapes of missing keys: names and order decide"]
    strange = [name for name in (*unexpected, *others) if name not in met]
    if strange:
        notes.append(
            f"{counted(len(strange), 'key')} that {path.name} names and {first.path.name} does not "
            f"have: {few(strange)}"
        )
    return wanted, notes


def _quoted(text: str, start: re.Pattern[str]) -> list[str]:
    """The names in quotes that follow, up to the end of the list."""
    found: dict[str, None] = {}
    for match in start.finditer(text):
        place = match.end()
        while (name := _QUOTED.search(text, place)) and not text[place : name.start()].strip(
            ", \n\t"
        ):
            found[name[1] or name[2]] = None
            place = name.end()
    return list(found)


def _sizes(text: str) -> tuple[int, ...]:
    return tuple(int(size) for size in text.replace(",", " ").split())
