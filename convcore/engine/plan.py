"""Deciding everything before anything is written: what, where, how large, and whether it may."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

from convcore.engine.request import Request
from convcore.errors import TargetError, UsageError
from convcore.host.registry import Registry
from convcore.layouts.candidates import REMAINDER
from convcore.layouts.layout import Component, Layout, LayoutMatch
from convcore.manifest import document as manifest
from convcore.names import assigner, collisions, legal_component, nearest
from convcore.output.documents import CONFIG, ENGINE_FILES
from convcore.packages import not_installed
from convcore.targets.report import Plan, Step
from convcore.targets.target import Choice, Target
from convcore.targets.weights import bounded

_FLAGS = ("opset", "atol", "rtol", "all_components", "allow_nan")  # of the fields of a request
SPLIT = "components"  # the layout that ``--component NAME=KEY_PREFIX`` spells out


def make_plan(
    match: LayoutMatch, targets: Sequence[Target], choice: Choice, request: Request
) -> Plan:
    """Plan every file of a run and refuse whatever would have to be refused later.

    Raises:
        TargetError: A package is missing, or a target does not accept the match.
        UsageError: Two outputs would have one name.
        LayoutError: A target needs configuration that nobody gave.
        SourceError: A few stored bytes are expanded beyond anything that is meant.
    """
    for target in targets:
        _installed(target)
        refusal = target.accepts(match)
        if refusal is not None:
            raise TargetError(
                f"{target.name} cannot be written from {match.layout.name}: {refusal}",
                remedy="choose another --to",
            )
    for part in choice.components:
        bounded(match.states.get(part, {}))
    steps = []
    for target in targets:
        own = attrs.evolve(choice, options=target.settled(request.config, flags(request)))
        steps.append(Step(target, target.plans(match, own), own))
    beside = documents(match)
    paths = [
        *ENGINE_FILES,
        *(name for name in beside if name != CONFIG),
        *(name for name in match.sidecars if name not in beside),
        *(path for step in steps for artifact in step.artifacts for path in artifact.paths),
    ]
    _stay_inside(paths)
    for name, content in beside.items():
        _is_json(name, content)
    for first, second in collisions(paths):
        raise UsageError(
            f"two outputs would have one name: {first} and {second}",
            seen=[f"targets: {', '.join(step.target.name for step in steps)}"],
            remedy="write them into two folders, or choose components with --component",
        )
    return Plan(match, choice, tuple(steps), beside)


def documents(match: LayoutMatch) -> dict[str, object]:
    """Return the JSON files that lie beside the targets' files: name to content."""
    found: dict[str, object] = {CONFIG: _values(match)}
    if match.layout.documents is not None:
        found |= match.layout.documents(match)
    return found


def _stay_inside(paths: Sequence[str]) -> None:
    """Refuse a name that is more than a name: it would lie outside the output folder.

    Raises:
        TargetError: A layout or a target gave one.
    """
    for path in paths:
        if path != Path(path).name or "\0" in path or "\\" in path:
            raise TargetError(
                f"{path!r} is no name for a file in the output folder",
                remedy="this is a fault of the layout or target; report it to its plugin's author",
            )


def _is_json(name: str, content: object) -> None:
    try:
        manifest.dumps(content)
    except (TypeError, ValueError, RecursionError) as error:
        raise TargetError(
            f"the content of {name} is no JSON: {error}",
            remedy="this is a fault of the layout; report it to its plugin's author",
        ) from error


def choose_components(
    match: LayoutMatch, wanted: Sequence[str], *, discriminators: bool
) -> tuple[str, ...]:
    """Return the components to write, in the layout's order.

    Args:
        match: The recognised checkpoint.
        wanted: ``--component`` names; empty takes all.
        discriminators: False leaves out components whose role is training.

    Raises:
        UsageError: A name is unknown.
    """
    parts = [
        part
        for part in match.layout.components
        if not match.states.get(part.name, {}).keys() <= match.dropped.keys()
    ]
    known = [part.name for part in parts]
    for name in wanted:
        if name not in known:
            raise UsageError(
                f"{match.layout.name} has no component {name!r} in this checkpoint",
                seen=(f"components: {', '.join(known)}", *nearest(name, known)),
                remedy="name one of them with --component",
            )
    if wanted:
        training = [part.name for part in parts if part.role != "inference" and part.name in wanted]
        if training and not discriminators:
            raise UsageError(
                f"--component {training[0]} names what --no-discriminators leaves out",
                remedy="give one of them",
            )
        return tuple(name for name in known if name in wanted)
    chosen = tuple(part.name for part in parts if discriminators or part.role == "inference")
    if not chosen:
        raise UsageError(
            f"every component of {match.layout.name} has the role training, none is left",
            remedy="leave out --no-discriminators",
        )
    return chosen


def split_layout(splits: Mapping[str, str], keys: Sequence[str]) -> Layout:
    """Make a layout of ``--component NAME=KEY_PREFIX`` pairs.

    Raises:
        UsageError: A name cannot be a file name, or no key starts with a prefix.
    """
    parts = []
    for name, prefix in splits.items():
        pattern = prefix if prefix.endswith((".", "*")) or prefix in keys else f"{prefix}."
        owner = assigner([(pattern, name)])
        if not pattern or not any(owner(key) for key in keys):
            raise UsageError(
                f"no tensor's name starts with {prefix!r}",
                seen=nearest(prefix, {key.rpartition(".")[0] for key in keys}, 3),
                remedy="give a prefix of the names that convcore inspect --tensors shows",
            )
        # What the rest of its names share may be a module of the network: only this is taken off.
        named = pattern if pattern.endswith(".") else None
        parts.append(Component(legal_component(name), pattern, prefix=named))
    owner = assigner([(pattern, part.name) for part in parts for pattern in part.keys])
    filled = {owner(key) for key in keys}
    empty = [part.name for part in parts if part.name not in filled]
    if empty:
        raise UsageError(
            f"nothing is left for {', '.join(empty)}: longer prefixes take all its tensors",
            seen=[f"{name}={prefix}" for name, prefix in splits.items()],
            remedy="give each component a prefix of its own",
        )
    if REMAINDER in splits:
        raise UsageError(f"{REMAINDER!r} is what is left over", remedy="use another name")
    return Layout(SPLIT, "split by --component NAME=KEY_PREFIX", parts, automatic=False)


def flags(request: Request) -> dict[str, Any]:
    """Return what the flags say that stand for an option of a target, as far as they were given."""
    given = {name: getattr(request, name) for name in _FLAGS}
    return {
        name: value for name, value in given.items() if value is not None and value is not False
    }


def check_heeded(request: Request, targets: Sequence[Target], registry: Registry) -> None:
    """Refuse flags that would change nothing in this run.

    Raises:
        UsageError: No target has an option of that name, or nothing is proved that it is for.
    """
    heeded = {option.name for target in targets for option in target.options} | {"allow_nan"}
    if request.verify == "none":
        heeded -= {"atol", "rtol"}
    idle = [name for name in flags(request) if name not in heeded]
    if idle:
        words = ", ".join(f"--{name.replace('_', '-')}" for name in idle)
        targets_given = " ".join(f"--to {target.name}" for target in targets)
        unproved = " --verify none" if request.verify == "none" else ""
        meant = [
            target.name
            for target in registry.targets.values()
            if set(idle) <= {option.name for option in target.options}
        ]
        remedy = f"leave {'it' if len(idle) == 1 else 'them'} out"
        if meant:
            remedy += f", or name the target meant, for example --to {meant[0]}"
        raise UsageError(
            f"{words} would change nothing with {targets_given}{unproved}",
            remedy=remedy + (", and leave out --verify none" if unproved else ""),
        )


def _installed(target: Target) -> None:
    missing = [name for name in target.needs if importlib.util.find_spec(name) is None]
    if missing:
        raise not_installed(missing, f"--to {target.name}")


def _values(match: LayoutMatch) -> dict[str, object]:
    return {name: setting.value for name, setting in match.settings.items()}
