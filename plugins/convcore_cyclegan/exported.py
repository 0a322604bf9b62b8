"""Source ``cyclegan-exported``: a folder with one bare state dict for each network.

Source of the file names: github.com/Terbinm/CPC_server_collectorSYS, ``scripts/export_models.py``;
convcore's own weight files of a CycleGAN are the same.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from convcore import Archive, Checkpoint, Input, LazyTensor, SourceError
from convcore.formats import as_mapping, read_json
from convcore.names import few
from convcore.sources import state_dict_of
from convcore_cyclegan.structure import DISCRIMINATORS, EARLY, GENERATORS

NAME = "cyclegan-exported"
_CONFIG = "model_config.json"
# The first that is there is read; the origin writes only these.
_SUFFIXES = (".pth", ".safetensors")
_KEYS = {
    **dict.fromkeys(GENERATORS, re.compile(r"(encoder|decoder|residual_blocks)\.\d{1,9}\.[\w.]+")),
    **dict.fromkeys(DISCRIMINATORS, re.compile(r"(model)\.\d{1,9}\.\w+")),
}
# Current generators have a LeakyReLU and a Dropout at these places of a stack, which hold nothing.
_EARLY_KEY = re.compile(r"(?:encoder|decoder)\.[23]\.\w+")
_STRAY = 3


def read(given: Input) -> Checkpoint | None:
    """Read a folder with both generators; None where neither file is one.

    Raises:
        SourceError: One generator lacks the other or is of another architecture, a file is
            damaged, or ``model_config.json`` holds no configuration.
    """
    if given.archive is not None or given.key is not None or not given.path.is_dir():
        return None
    files = _files(given.path)
    archives = {stem: given.open(path) for stem, path in files.items() if stem in GENERATORS}
    states = {stem: _state(stem, archive) for stem, archive in archives.items()}
    if not any(states.values()):
        return None
    _refuse_half(given.path, files, states)
    for stem in files.keys() - archives.keys():
        archives[stem] = given.open(files[stem])
        states[stem] = _state(stem, archives[stem])
    taken = {stem: states[stem] for stem in _KEYS if states.get(stem)}
    early = _is_early(taken[GENERATORS[0]])
    prefixes = {stem: EARLY[stem] if early and stem in EARLY else stem for stem in taken}
    opaque: Counter[str] = Counter()
    for stem in taken:
        opaque.update(archives[stem].opaque)
    config = _configuration(given.path / _CONFIG)
    return Checkpoint(
        given.path,
        NAME,
        ", ".join(dict.fromkeys(archives[stem].format for stem in taken)),
        {f"{prefixes[stem]}.{key}": value for stem in taken for key, value in taken[stem].items()},
        rest=_beside({files[stem].name: archives[stem].tree for stem in taken}),
        hyper_parameters=config,
        evidence=tuple(_evidence(given.path, files, prefixes, bool(config))),
        opaque=opaque,
    )


def _files(folder: Path) -> dict[str, Path]:
    """Return each network's file, in the order of the origin's state dict."""
    places = {stem: [folder / f"{stem}{suffix}" for suffix in _SUFFIXES] for stem in _KEYS}
    found = {stem: [path for path in paths if path.is_file()] for stem, paths in places.items()}
    return {stem: paths[0] for stem, paths in found.items() if paths}


def _state(stem: str, archive: Archive) -> Mapping[str, LazyTensor]:
    """Return the network's state dict; nothing where most of the keys are not those of one."""
    state = state_dict_of(archive.tree) or {}
    fits = [found[1] for key in state if (found := _KEYS[stem].fullmatch(key))]
    needed = {"encoder", "decoder"} if stem in GENERATORS else {"model"}
    return state if needed <= set(fits) and 2 * len(fits) >= len(state) else {}


def _is_early(keys: Iterable[str]) -> bool:
    return sum(_EARLY_KEY.fullmatch(key) is not None for key in keys) > _STRAY


def _refuse_half(
    folder: Path, files: Mapping[str, Path], states: Mapping[str, Mapping[str, LazyTensor]]
) -> None:
    there, lacking = sorted(GENERATORS, key=lambda stem: not states.get(stem))
    seen = [f"{files[there].name} holds a generator of {len(states[there])} tensors"]
    if states.get(lacking):
        if _is_early(states[there]) == _is_early(states[lacking]):
            return
        what = f"{files[there].name} and {files[lacking].name} are of different architectures"
    elif lacking in files:
        what = f"{files[lacking].name} of this exported CycleGAN holds no generator's state dict"
    else:
        what = f"{folder.name} holds {files[there].name}, but no {lacking}{files[there].suffix}"
    raise SourceError(
        what,
        seen=seen,
        remedy="give the folder both generators of one training, or convert one file by itself "
        f"with --layout plain: {files[there].name}",
    )


def _beside(trees: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the files hold beside their tensors, by file, so that nothing is forgotten."""
    rest = {}
    for name, tree in trees.items():
        entries = as_mapping(tree) or {}
        left = {key: value for key, value in entries.items() if not isinstance(value, LazyTensor)}
        if isinstance(tree, Mapping) and left:
            rest[name] = left
    return rest


def _configuration(path: Path) -> dict[str, Any]:
    """Return what the exporter took from the hyper-parameters, as flat as Lightning stores them."""
    if not path.is_file():
        return {}
    stated = read_json(path)
    if not isinstance(stated, dict):
        raise SourceError(
            f"{_CONFIG} holds a {type(stated).__name__}, not an object of settings",
            remedy="write it anew, or move it away: the structure is read from the tensors",
        )
    return {
        **{name: value for name, value in stated.items() if name != "training"},
        **(as_mapping(stated.get("training")) or {}),
    }


def _evidence(
    folder: Path, files: Mapping[str, Path], prefixes: Mapping[str, str], configured: bool
) -> Iterable[str]:
    names = ", ".join(files[stem].name for stem in prefixes)
    first = next(iter(prefixes))
    yield (
        f"exported networks, each in a file of its own: {names}; their keys are read behind "
        f"the network's name, such as {prefixes[first]!r}"
    )
    if configured:
        yield f"hyper-parameters are those of {_CONFIG}"
    odd = [path.name for stem, path in files.items() if stem not in prefixes]
    if odd:
        yield f"{', '.join(odd)}: no discriminator of such a CycleGAN, not taken"
    every = [folder / f"{stem}{suffix}" for stem in files for suffix in _SUFFIXES]
    unread = [path.name for path in every if path.is_file() and path not in files.values()]
    if unread:
        yield f"also there and not read: {few(unread)}"
