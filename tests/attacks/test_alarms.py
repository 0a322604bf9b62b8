"""Which names are reported as running code: those of published attacks, and no ordinary ones."""

from __future__ import annotations

from pathlib import Path

import pytest

from convcore.errors import SourceError
from convcore.formats import open_archive
from tests.attacks.assembler import EMPTY, REDUCE, checkpoint, mapping, pickled, tensor, text

# Module and name as a pickle spells them; all from public advisories about pickle scanners.
ATTACKS = [
    ("asyncio.unix_events", "_UnixSubprocessTransport._start"),
    ("asyncio.unix_events._UnixSubprocessTransport", "_start"),
    ("idlelib.run", "Executive.runcode"),
    ("lib2to3.pgen2.pgen", "ParserGenerator.make_label"),
    ("distutils.file_util", "write_file"),
    ("logging.config", "listen"),
    ("ssl", "get_server_certificate"),
    ("uuid", "_get_command_stdout"),
    ("_osx_support", "_read_output"),
    ("_aix_support", "_read_cmd_output"),
    ("_pyrepl.pager", "pipe_pager"),
    ("torch.utils._config_module", "ConfigModule.load_config"),
    ("torch.utils.collect_env", "run"),
    ("torch._dynamo.guards", "GuardBuilder.get"),
    ("torch.fx.experimental.symbolic_shapes", "ShapeEnv.evaluate_guards_expression"),
    ("torch.jit.unsupported_tensor_ops", "execWrapper"),
    ("torch._inductor.codecache", "PyCodeCache.load"),
    ("torch.ops", "load_library"),
    ("numpy.f2py.crackfortran", "getlincoef"),
    ("numpy.testing._private.utils", "runstring"),
    ("importlib.machinery", "SourceFileLoader"),
    ("requests.api", "get"),
    ("hydra.utils", "instantiate"),
    ("pathlib", "Path.write_text"),
    ("argparse", "_os.system"),
    ("collections", "_sys.modules"),
]
ORDINARY = [
    ("code.models.networks", "Generator"),
    ("profile.trainer", "Settings"),
    ("platform", "uname_result"),
    ("signal", "Signals"),
    ("pathlib", "PosixPath"),
    ("logging", "Logger"),
    ("torch._dynamo.eval_frame", "OptimizedModule"),
    ("cloudpickle.cloudpickle", "_make_function"),
    ("urllib.parse", "ParseResult"),
    ("http", "HTTPStatus"),
    ("os", "stat_result"),
    ("__main__", "Net"),
]


def _named(module: str, name: str, folder: Path) -> Path:
    called = text(module) + text(name) + b"\x93" + EMPTY + REDUCE
    path = folder / "x.pt"
    path.write_bytes(checkpoint(pickled(mapping(w=tensor(), x=called), 4)))
    return path


@pytest.mark.parametrize(("module", "name"), ATTACKS, ids=[".".join(pair) for pair in ATTACKS])
def test_names_of_published_attacks_are_reported(module: str, name: str, tmp_path: Path) -> None:
    path = _named(module, name, tmp_path)

    with pytest.raises(SourceError) as caught:
        open_archive(path)

    assert caught.value.kind == "unsafe"
    assert name in str(caught.value) + " ".join(caught.value.seen)


@pytest.mark.parametrize(("module", "name"), ORDINARY, ids=[".".join(pair) for pair in ORDINARY])
def test_names_of_ordinary_checkpoints_are_not(module: str, name: str, tmp_path: Path) -> None:
    path = _named(module, name, tmp_path)

    archive = open_archive(path)

    assert archive.tree["w"].load().tolist() == [1, 2, 3, 4]
    assert f"{module}.{name}" in archive.opaque or module == "pathlib"
