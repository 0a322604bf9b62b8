"""What the manifest says of the model, settled once more from the weights that lie beside it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import attrs

import convcore
from convcore.engine.audit.holdings import Holding, of_component
from convcore.engine.plan import documents
from convcore.engine.reopened import artifacts
from convcore.errors import ConvcoreError, PluginError, UsageError
from convcore.host.registry import Registry
from convcore.layouts.candidates import REMAINDER, consider
from convcore.layouts.layout import Layout, LayoutMatch, Setting
from convcore.layouts.matching import assemble, configure
from convcore.manifest import document as manifest
from convcore.manifest.building import artifact_record
from convcore.manifest.fingerprint import lasting
from convcore.manifest.ledger import is_beside
from convcore.manifest.parts import settings_of
from convcore.manifest.record import Manifest
from convcore.names import assigner, counted, few
from convcore.output.documents import EXAMPLE
from convcore.sources.selection import STATISTICS
from convcore.targets.check import Check, CheckKind, not_made
from convcore.targets.rebuilding import mistyped
from convcore.targets.report import WrittenFile
from convcore.targets.target import Choice

_SHOWN = 20
# Origins whose values depend on nothing but what lies in the output.
_CERTAIN = ("shape", "default", "guess")


def audit_model(
    folder: Path,
    content: Manifest,
    match: LayoutMatch,
    holdings: list[Holding],
    registry: Registry,
) -> Iterator[Check]:
    """Hold components, sizes, settings, documents and plans against what is settled again.

    Raises:
        SourceError: A setting is of a type that the layout never gives it.
    """
    problems = list(_of_components(content, match.layout))
    whole = _is_whole(content, match)
    # As the weight files show it, where ``match`` has what the manifest records.
    layout = registry.find("layouts", match.layout.name)
    shown = assemble(consider(layout, match.checkpoint), match.checkpoint)
    if whole:
        problems += _of_sizes(content, shown)
    yield _check(manifest.NAME, CheckKind.COMPONENTS, problems)
    yield from _of_flat_files(content, match, holdings)
    if content.convcore_version != convcore.__version__:
        reason = f"convcore {content.convcore_version} wrote it, this is {convcore.__version__}"
        yield not_made(manifest.NAME, "settings and documents", CheckKind.SETTINGS, reason)
        return
    if whole:
        shown = attrs.evolve(shown, sidecars=match.sidecars)
        yield from _settings(content, shown)
    else:
        reason = "not every component has its weight file here"
        yield not_made(manifest.NAME, "settings and sizes", CheckKind.SETTINGS, reason)
    yield from _documents(folder, content, match, registry, whole=whole)
    yield _check(manifest.NAME, CheckKind.PLANS, _of_plans(content, match, holdings, registry))


def _is_whole(content: Manifest, match: LayoutMatch) -> bool:
    """Whether all that the source had and the layout writes lies in the output."""
    refuse = assigner(
        [(key, why) for part in match.layout.components for key, why in part.drop.items()]
    )
    names = content.names
    told = {row.tensor for row in content.ledger if row.tensor is not None}
    every = {names.get(name, name) for name in told - _beside(content)}
    return all(name in match.checkpoint.tensors or refuse(name) for name in every)


def _of_components(content: Manifest, layout: Layout) -> Iterator[str]:
    """Count the ledger's tensors by the component that their names belong to."""
    assign = assigner([(key, part.name) for part in layout.components for key in part.keys])
    names = content.names
    beside = _beside(content)
    told = {row.tensor for row in content.ledger if row.tensor is not None}
    statistics = set(content.statistics)
    counts: dict[str, int] = {}
    for name in told - beside:
        short = names.get(name, name)
        part = assign(short) or (STATISTICS if short in statistics else REMAINDER)
        counts[part] = counts.get(part, 0) + 1
    roles: dict[str, str] = {part.name: part.role for part in layout.components}
    rows = {part.name: part for part in content.components}
    for name in counts.keys() | rows.keys():
        row, count = rows.get(name), counts.get(name, 0)
        if row is None or not count:
            yield f"{name}: the ledger has {counted(count, 'tensor')}, {name} is " + (
                "no component" if row is None else "a component"
            )
        elif row.tensor_count != count:
            yield f"{name} has {row.tensor_count:,} tensors, the ledger {count:,}"
        elif row.role != roles.get(name, "training"):
            yield f"{name} has the role {row.role}, which is {roles.get(name, 'training')}"
    lacking = [part.name for part in layout.components if part.required and part.name not in rows]
    if lacking:
        yield f"it has no {few(lacking)}, without which it is no {layout.name}"


def _beside(content: Manifest) -> set[str]:
    """Tensors that lay beside the state dict: no target writes them, and all say why."""
    reasons: dict[str, set[str | None]] = {}
    for row in content.ledger:
        if row.tensor is not None:
            reasons.setdefault(row.tensor, set()).add(row.reason)
    return {name for name, said in reasons.items() if all(map(is_beside, said))}


def _of_flat_files(
    content: Manifest, match: LayoutMatch, holdings: list[Holding]
) -> Iterator[Check]:
    """Hold what a file of several components has of each against its fingerprint."""
    rows = {part.name: part for part in content.components}
    for holding in holdings:
        if holding.fault is not None or holding.artifact.of in rows:
            continue
        problems: list[str] = []
        for part in rows.keys() & match.states.keys():
            state = {
                name: holding.named[original]
                for name in lasting(match, part)
                if (original := content.renamed.get(name, name)) in holding.named
            }
            if holding.rechecked and len(state) < rows[part].tensor_count:
                continue  # it holds a part of them, as its target rechecks
            if rows[part].fingerprint is not None and state:
                problems += of_component(rows[part], state)
        yield _check(holding.artifact.path, CheckKind.TENSORS, problems, "fingerprints")


def _of_sizes(content: Manifest, match: LayoutMatch) -> Iterator[str]:
    if dict(match.sizes) != content.sizes:
        odd = sorted(
            name
            for name in match.sizes.keys() | content.sizes.keys()
            if match.sizes.get(name) != content.sizes.get(name)
        )
        yield f"the tensors have other sizes: {few(odd)}"


def _settings(content: Manifest, match: LayoutMatch) -> Iterator[Check]:
    recorded = content.settings
    stated = {n: s.value for n, s in recorded.items() if s.origin == "hyper_parameters"}
    options = {n: _text(s.value) for n, s in recorded.items() if s.origin == "option"}
    bare = attrs.evolve(match, checkpoint=attrs.evolve(match.checkpoint, hyper_parameters=stated))
    try:
        settled = _settled(bare, options)
    except PluginError as error:
        raise mistyped(match, error.what) from error
    except ConvcoreError as error:
        yield not_made(manifest.NAME, "settings", CheckKind.SETTINGS, error.what)
        return
    again = settings_of(attrs.evolve(match, settings=settled))
    odd = [
        f"{name} is a {type(setting.value).__name__}"
        for name, setting in recorded.items()
        if name in again and not _same_type(setting.value, again[name].value)
    ]
    if odd:
        raise mistyped(match, few(odd))
    # What a file says can be read again where the files that it may be lie in the output.
    certain = (*_CERTAIN, "file") if match.sidecars else _CERTAIN
    problems = []
    for name, now in again.items():
        then = recorded.get(name)
        if then is None:
            if now.origin in _CERTAIN:
                problems.append(f"{name} is missing: it is {_brief(now.value)}")
        elif now.origin == then.origin in certain and now.value != then.value:
            problems.append(f"{name} is {_brief(now.value)}, not {_brief(then.value)}")
        elif (now.origin == "shape") != (then.origin == "shape"):
            problems.append(f"the origin of {name} is {now.origin}, not {then.origin}")
    problems += [
        f"{name} is no setting that this layout settles"
        for name, setting in recorded.items()
        if name not in again and setting.origin in _CERTAIN
    ]
    yield _check(manifest.NAME, CheckKind.SETTINGS, problems)


def _settled(match: LayoutMatch, options: Mapping[str, str]) -> Mapping[str, Setting]:
    try:
        return configure(match, options).settings
    except UsageError:  # an option that is not recorded as it was given
        return configure(match, {}).settings


def _documents(
    folder: Path, content: Manifest, match: LayoutMatch, registry: Registry, *, whole: bool
) -> Iterator[Check]:
    listed = {file.path for file in content.files if file.target is None}
    try:
        expected = documents(match)
    except ConvcoreError as error:
        if whole and isinstance(error, PluginError):
            raise mistyped(match, error.what) from error
        yield not_made(manifest.NAME, "documents", CheckKind.DOCUMENT, error.what)
        return
    for name, value in expected.items():
        if name not in listed:
            yield _check(name, CheckKind.DOCUMENT, [f"{name} is not listed"])
            continue
        same = (folder / name).read_bytes() == manifest.dumps(value)
        yield _check(name, CheckKind.DOCUMENT, [] if same else ["it is not what the settings say"])
    if EXAMPLE in listed and whole:
        yield _example(folder, content, match, registry)


def _example(folder: Path, content: Manifest, match: LayoutMatch, registry: Registry) -> Check:
    """Render the script once more: it is code, which somebody will run."""
    if find_spec("jinja2") is None:
        return not_made(EXAMPLE, "content", CheckKind.DOCUMENT, "jinja2 is not installed")
    from convcore.output.example import render

    made = artifacts(content, registry.targets)
    try:
        script = render(match, made, registry.targets)
    except Exception as error:  # a template meets settings that its layout never gives it
        return _check(EXAMPLE, CheckKind.DOCUMENT, [f"no script can be made of this: {error}"])
    same = script.encode() == (folder / EXAMPLE).read_bytes()
    return _check(
        EXAMPLE, CheckKind.DOCUMENT, [] if same else ["it is not the script for these files"]
    )


def _of_plans(
    content: Manifest,
    match: LayoutMatch,
    holdings: list[Holding],
    registry: Registry,
) -> Iterator[str]:
    """Ask each target what it would write, and under which name each tensor."""
    files: dict[str, list[WrittenFile]] = {}
    for file in content.owned:
        files.setdefault(str(file.target), []).append(file)
    named = {holding.artifact.path: holding for holding in holdings if holding.fault is None}
    recorded = {each.path: each for each in content.artifacts}
    for target, listed in files.items():
        if target not in registry.targets:
            continue
        parts = {file.component for file in listed}
        chosen = tuple(name for name in match.states if name in parts) or tuple(match.states)
        known = registry.targets[target]
        options = known.settled({}, {"all_components": True})
        choice = Choice(chosen, explicit=True, options=options)
        try:
            planned = known.plans(match, choice)
        except (ConvcoreError, OSError):
            continue  # what cannot be planned again is held by the other checks alone
        owners = {path: out for out in planned for path in out.paths}
        for file in listed:
            artifact, told = owners.get(file.path), recorded.get(file.path)
            if artifact is None or artifact.of != file.component:
                yield f"{target} does not write {file.component} into {file.path}"
                continue
            if told is not None and told != artifact_record(artifact, told.also):
                yield f"{file.path} is not the {told.kind} ({told.format}) that {target} writes"
            if file.path in named and file.path == artifact.path:
                yield from _of_names(named[file.path], artifact.names, content.renamed)


def _of_names(
    holding: Holding, planned: Mapping[str, str], renamed: Mapping[str, str]
) -> Iterator[str]:
    cast = {row.tensor for row in holding.rows if row.state == "cast" and holding.rechecked}
    expected = {key: renamed.get(name, name) for key, name in planned.items()}
    odd = sorted((set(expected.values()) - cast) ^ holding.named.keys())
    if odd:
        yield f"{holding.artifact.path} and the ledger differ in {few(odd)}"
        return
    for key, name in expected.items():
        there, told = holding.tensors.get(key), holding.named.get(name)
        if told is not None and (there is None or there.identity != told.identity):
            yield f"{holding.artifact.path} has {planned[key]} under another key than {key}"


def _same_type(one: Any, other: Any) -> bool:
    if one is None or other is None:
        return True
    numbers = all(isinstance(v, int | float) and not isinstance(v, bool) for v in (one, other))
    return numbers or type(one) is type(other)


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _brief(value: Any) -> str:
    return f"{json.dumps(value):.60}"


def _check(
    path: str, kind: CheckKind, problems: Iterator[str] | list[str], what: str | None = None
) -> Check:
    found = list(problems)
    figures = {"problems": found[:_SHOWN]} if found else {}
    said = "content" if kind is CheckKind.DOCUMENT else kind.value
    return Check(path, what or said, not found, figures, kind)
