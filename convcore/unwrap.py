"""From what a file holds to a flat state dict: finding it, and removing wrapper prefixes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from convcore.errors import SourceError, UsageError
from convcore.formats import Archive, as_mapping, as_plain, as_state_dict, walk_tensors
from convcore.formats.tree import part_name
from convcore.names import counted, few, nearest
from convcore.sources.source import Checkpoint, Input
from convcore.tensors import LazyTensor

# Names under which training scripts keep the model (met in public checkpoints): those that mean
# all of it, whatever else is there, and those that may mean one of several networks.
CANONICAL = ("state_dict", "model_state_dict")
WHOLE = (*CANONICAL, "model_state", "model", "net", "network", "module")
_PARTIAL = ("encoder_state_dict", "generator", "ema", "state", "weights", "params")
# Wrapper classes put these before the names the author wrote.
PREFIXES = ("module.", "_orig_mod.", "_forward_module.", "model.")
# The one of them that may as well be an attribute of the class that was trained.
ATTRIBUTE = "model."
COMPILED = "_orig_mod."
_HYPER = ("hyper_parameters", "hparams", "config", "args", "opt", "cfg")
# Entries that hold tensors of training, never a model; how deep a wrapper may itself be wrapped.
_NOT_MODELS = ("optim", "lr_sched", "sched", "callbacks", "loops", *_HYPER)
_LEVELS = 3
_SHOWN = 12
# More entries than any wrapper has; walking a bomb of millions would take memory and seconds.
MOST_ENTRIES = 100_000


def state_dict_of(value: Any) -> Mapping[str, LazyTensor] | None:
    """Return the tensors of a state dict or a whole pickled module; None if it is neither.

    Entries that are no tensors are passed over where most entries are tensors (a state dict may
    carry a version number or extra state).
    """
    module = as_state_dict(value)
    if module:
        return module
    if not isinstance(value, Mapping):
        return None
    count = sum(isinstance(item, LazyTensor) for item in value.values())
    return tensors_of(value) if count * 2 > len(value) else None


def tensors_of(entries: Mapping[Any, Any]) -> dict[str, LazyTensor]:
    """Return the entries that are tensors, by their keys as text.

    Raises:
        SourceError: Two keys are spelt alike (``1`` and ``"1"``), so that one would be lost.
    """
    tensors: dict[str, LazyTensor] = {}
    for key, item in entries.items():
        if not isinstance(item, LazyTensor):
            continue
        name = key_text(key)
        if name in tensors:
            raise SourceError(
                f"two tensors have keys that are spelt alike: {name[:200]!r}",
                remedy="save the state dict again with a name of its own for each tensor",
            )
        tensors[name] = item
    return tensors


def key_text(key: Any) -> str:
    """Return a key as the name of its tensor: text as it is, all else as Python prints it."""
    # A number of a million digits would take minutes to print.
    return key if type(key) is str else part_name(key) if type(key) is int else str(key)


def turned_to_text(entries: Mapping[Any, Any]) -> list[str]:
    """Say which tensors have keys that are no text, and how they are called."""
    odd = [key for key, item in entries.items() if type(key) is not str and _is_tensor(item)]
    if not odd:
        return []
    kinds = ", ".join(sorted({type(key).__name__ for key in odd}))
    names = few([key_text(key)[:40] for key in odd])
    return [f"{counted(len(odd), 'key')} of type {kinds} became text: {names}"]


def _is_tensor(item: Any) -> bool:
    return isinstance(item, LazyTensor)


def state_dicts(tree: Mapping[Any, Any]) -> dict[str, Mapping[str, LazyTensor]]:
    """Return every state dict among a file's entries, or, if there is none, among theirs."""
    # A bare state dict of 40,000 tensors is asked about each of them by several sources.
    level = {
        key: value
        for key, value in tree.items()
        if isinstance(key, str) and not isinstance(value, LazyTensor)
    }
    for _ in range(_LEVELS):
        if len(level) > MOST_ENTRIES:
            return {}
        found = {key: tensors for key, value in level.items() if (tensors := state_dict_of(value))}
        if found:
            return found
        level = {
            f"{key}.{inner}": item
            for key, value in level.items()
            if not key.startswith(_NOT_MODELS)
            for inner, item in (as_mapping(value) or {}).items()
            if isinstance(inner, str)
        }
    return {}


def choose(given: Input, tree: Mapping[Any, Any]) -> tuple[str, Mapping[str, LazyTensor]] | None:
    """Choose the state dict among a wrapper's entries: its key and its tensors.

    Raises:
        SourceError: Several could be meant; ``--key`` settles it.
    """
    found = state_dicts(tree)
    names = {key: key.rpartition(".")[2] for key in found}
    canonical = [key for key, name in names.items() if name in CANONICAL]
    whole = [key for key, name in names.items() if name in WHOLE]
    partial = [key for key, name in names.items() if name in _PARTIAL]
    # A network beside it may be as much of the model; sample inputs and outputs are none.
    networks = [key for key in found if key in partial or _like_a_network(found[key])]
    for likely in (canonical, whole, networks if partial else [], list(found)):
        if len(likely) == 1:
            return likely[0], found[likely[0]]
        if likely:
            raise SourceError(
                f"{given.path.name} holds {len(likely)} state dicts: {', '.join(likely)}",
                seen=[f"{key}: {counted(len(found[key]), 'tensor')}" for key in likely],
                remedy=f"name one of them, for example --key {likely[0]}",
            )
    return None


def _like_a_network(tensors: Iterable[str]) -> bool:
    return any(key.endswith(("weight", "bias")) for key in tensors)


def follow(given: Input, tree: Any, key: str) -> Mapping[str, LazyTensor]:
    """Return the state dict at ``--key``, a dotted path from the top of the file.

    Raises:
        UsageError: There is nothing, or no state dict, at that path.
    """
    value, rest = tree, key
    while rest:
        entries = _entries(value)
        best = _first_step(entries, rest)
        if best is None:
            known = [str(k) for k in entries][:_SHOWN]
            raise UsageError(
                f"{given.path.name} has nothing at --key {key}",
                seen=(f"there: {', '.join(known) or 'no entries'}", *nearest(rest, known)),
                remedy="give the dotted path of a state dict",
            )
        value, rest = entries[best], rest[len(best) + 1 :]
    tensors = state_dict_of(value)
    if not tensors:
        raise UsageError(
            f"--key {key} of {given.path.name} is no state dict",
            seen=[f"it is a {type(value).__name__}"],
            remedy="give the dotted path of a mapping from names to tensors",
        )
    return tensors


def beside(tree: Any, key: str) -> dict[Any, Any]:
    """Return a file's entries without the state dict at a dotted path, so that none is forgotten.

    What a state dict holds beside tensors (extra state) stays, since it may hold tensors itself.
    """
    entries = dict(_entries(tree))
    best = _first_step(entries, key)
    if best is None:
        return entries
    rest = key[len(best) + 1 :]
    value = entries[best]
    if rest:
        left = beside(value, rest)
    elif isinstance(value, Mapping):
        left = {name: item for name, item in value.items() if not isinstance(item, LazyTensor)}
    else:
        left = {}
    entries[best] = left
    return entries if left else {name: item for name, item in entries.items() if name != best}


def _entries(value: Any) -> Mapping[Any, Any]:
    """Return the entries of a mapping by their keys, those of a list by their places in it."""
    if isinstance(value, list | tuple):
        return {str(index): item for index, item in enumerate(value)}
    return as_mapping(value) or {}


def _first_step(entries: Mapping[Any, Any], path: str) -> str | None:
    # A key may itself hold dots: the longest one that fits wins.
    fits = [k for k in entries if isinstance(k, str) and f"{path}.".startswith(f"{k}.")]
    return max(fits, key=len, default=None)


def unprefixed(names: Mapping[str, LazyTensor]) -> tuple[dict[str, str], list[str]]:
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
    inner = {key: name.replace(f".{COMPILED}", ".") for key, name in short.items()}
    if inner != short and len(set(inner.values())) == len(inner):
        count = sum(inner[key] != short[key] for key in short)
        said.append(f"removed {COMPILED!r} (torch.compile) inside {count} keys")
        short = inner
    return short, said


def authored(name: str, original: str) -> str:
    """Return the name a tensor has in the class that was trained: without wrappers' prefixes.

    Args:
        name: Its name in the checkpoint, less everything that ``unprefixed`` takes off.
        original: Its key in the file.
    """
    key = original.replace(f".{COMPILED}", ".")
    removed = key.removesuffix(name)
    parts = removed.split(".") if removed != key else ()
    return ATTRIBUTE * parts.count(ATTRIBUTE[:-1]) + name


def _left(beside: Mapping[Any, Any]) -> list[str]:
    """Say which tensors beside the state dict are not taken, those of the training aside."""
    counts = {
        str(key): sum(1 for _ in walk_tensors(value))
        for key, value in beside.items()
        if not str(key).startswith(_NOT_MODELS)
    }
    left = [f"{key} ({counted(count, 'tensor')})" for key, count in counts.items() if count]
    return [f"beside the state dict, and not taken: {few(left)}"] if left else []


def _no_aliases(archive: Archive) -> list[str]:
    """Say which names of a format's own metadata point at a tensor and are no other name of it."""
    there, told = archive.tree, archive.metadata
    if archive.format != "safetensors":
        return []
    notes = [f"{name} = {to}" for name, to in told.items() if to in there and name not in there]
    return [f"metadata that names a tensor, taken as text: {few(notes)}"] if notes else []


def make_checkpoint(
    given: Input,
    tensors: Mapping[str, LazyTensor],
    *,
    source: str,
    beside: Mapping[str, Any] | None = None,
    evidence: tuple[str, ...] = (),
) -> Checkpoint:
    """Build the checkpoint of one file: prefixes stripped, hyper-parameters and metadata found.

    Args:
        given: The input, its archive opened.
        tensors: The state dict as it lies in the file.
        source: Name of the source.
        beside: The file's other entries.
        evidence: What is known already.
    """
    assert given.archive is not None  # only a file has one state dict
    short, said = unprefixed(tensors)
    beside = beside or {}
    stored = (as_mapping(beside.get(name)) for name in _HYPER)
    hyper: Mapping[str, Any] = next(filter(None, stored), {})
    metadata = {
        str(key): as_plain(value)
        for key, value in beside.items()
        if isinstance(value, str | int | float | bool) and len(str(value)[:300]) < 300
    }
    return Checkpoint(
        given.path,
        source,
        given.archive.format,
        {short[key]: tensor for key, tensor in tensors.items()},
        rest=beside,
        hyper_parameters=hyper,
        metadata={**given.archive.metadata, **metadata},
        evidence=(*evidence, *said, *_left(beside), *_no_aliases(given.archive)),
        opaque=given.archive.opaque,
        renamed={name: key for key, name in short.items() if key != name},
    )
