"""``inference_example.py``: a script that runs what was written, without convcore installed."""

from __future__ import annotations

import ast
import json
import pprint
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import attrs

import convcore
from convcore.layouts.example_inputs import draw, sizes_for
from convcore.layouts.graph import Axis, Graph
from convcore.layouts.layout import LayoutMatch
from convcore.onnx_runtime import FORMAT as RUN
from convcore.targets.target import Artifact, Target
from convcore.targets.weights import local_names

_TEMPLATES = Path(__file__).parent
_TEMPLATE = _TEMPLATES / "inference_example.py.jinja"
# An input that is legal only as a whole is written out up to this many numbers.
_WRITTEN_OUT = 4096


def render(match: LayoutMatch, artifacts: Iterable[Artifact], targets: Mapping[str, Target]) -> str:
    """Return the source of the script.

    It holds names and numbers that the layout declares and settings as literals; text of the
    checkpoint never becomes code.

    Args:
        match: What was converted; its layout may bring a template, which is given ``layout``,
            ``version``, ``graphs`` (of the files onnxruntime runs), ``networks`` (of the weight
            files), ``files`` (weight files), ``loaders`` (how those are read that torch and
            safetensors do not read), ``settings``, ``nets`` (source), ``embed`` (source of a
            module beside the template, by file name) and the filter ``literal``.
        artifacts: What lies in the folder, or will.
        targets: Those that wrote it, by name.
    """
    import jinja2

    ordered = sorted(artifacts, key=lambda artifact: artifact.path)
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),  # a layout's template may include the engine's
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        autoescape=False,  # Python is written, not HTML; see ``literal``
    )
    environment.filters["literal"] = literal
    template = match.layout.example or _TEMPLATE
    loaded = {name: target.loads for name, target in targets.items() if target.loads is not None}
    weights = [each for each in ordered if each.kind == "weights" and each.target in loaded]
    run = {each.of: each for each in ordered if each.kind == "graph" and each.format == RUN}
    graphs = list(match.graphs())
    exported = [graph for graph in graphs if graph.name in run]
    networks = [] if exported else list(_networks(match, graphs, weights))
    return environment.from_string(template.read_text(encoding="utf-8")).render(
        layout=match.layout.name,
        version=convcore.__version__,
        graphs=[{"file": run[graph.name].path, **_described(graph)} for graph in exported],
        networks=networks,
        files=[each.path for each in weights],
        loaders=[
            {
                "files": [each.path for each in weights if each.target == name],
                "source": source,
                "needs": list(targets[name].needs),
            }
            for name, source in loaded.items()
            if source and any(each.target == name for each in weights)
        ],
        settings={name: _plain(setting.value) for name, setting in match.settings.items()},
        nets=_source(match.layout.nets) if networks and match.layout.nets else "",
        embed=lambda name: _source(template.with_name(name)),
    )


def literal(value: Any) -> str:
    """Return a plain value as Python source."""
    return pprint.pformat(_plain(value), width=96, compact=True, sort_dicts=False)


def _plain(value: Any) -> Any:
    """Return what JSON keeps of a value: no object can hide code in its ``repr``."""
    return json.loads(json.dumps(value, default=str), parse_constant=lambda _: None)


def _networks(
    match: LayoutMatch, graphs: Iterable[Graph], weights: Sequence[Artifact]
) -> Iterator[Mapping[str, Any]]:
    """Describe every graph that one weight file and a class of ``nets.py`` can compute."""
    for graph in graphs:
        if graph.call is None or graph.refusal is not None or len(graph.components) > 1:
            continue
        part = graph.components[0]
        file = next((each for each in weights if each.of == part), None)
        if file is None or _misfit(match, part):
            continue
        entry = _entry(match, part, file)
        if entry is None:
            continue
        name, arguments = graph.call
        yield {
            "graph": graph.name,
            "file": file.path,
            "entry": entry,
            "network": name,
            "arguments": arguments,
            "affine": attrs.asdict(graph.affine) if graph.affine else None,
            **_described(graph),
        }


def _misfit(match: LayoutMatch, component: str) -> bool:
    """Whether a component holds what its network would not take: the script only shows it then."""
    state = match.states.get(component, {})
    strange = any(name in match.extra and name not in match.dropped for name in state)
    return strange or any(tensor.dtype.startswith("complex") for tensor in state.values())


def _entry(match: LayoutMatch, component: str, file: Artifact) -> str | None:
    """Name the entry of a file that is the whole state dict: '' for the file itself."""
    names = local_names(match, component)
    if match.layout.weights is None or file.names.keys() <= names.keys():
        return ""
    tree = match.layout.weights(match, component)
    whole = [k for k, v in tree.items() if isinstance(v, Mapping) and v.keys() == names.keys()]
    return whole[0] if whole else None


def _described(graph: Graph) -> dict[str, Any]:
    sizes = sizes_for(graph).traced
    return {
        "inputs": {axis.name: _input(axis, graph, sizes) for axis in graph.inputs},
        "outputs": [axis.name for axis in graph.outputs],
    }


def _input(axis: Axis, graph: Graph, sizes: Mapping[str, int]) -> dict[str, Any]:
    shape = [sizes[size] if isinstance(size, str) else size for size in axis.shape]
    described: dict[str, Any] = {"shape": shape, "dtype": axis.dtype}
    if axis.sample is not None:
        array = draw(graph, sizes)[axis.name]
        if array.size <= _WRITTEN_OUT:
            described["values"] = array.ravel().tolist()
        else:
            described["between"] = [array.min().item(), array.max().item()]
    return described


def _source(path: Path) -> str:
    """Return a module's source without its docstring and its ``__future__`` imports."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines(keepends=True)
    for node in reversed(ast.parse(text).body):
        docstring = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if docstring or future:
            del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines).strip() + "\n"
