"""Names that run code when unpickled by others: a reason to refuse, never what safety rests on."""

from __future__ import annotations

_MODULES = frozenset(
    [
        "os",
        "posix",
        "nt",
        "posixpath.os",
        "ntpath.os",
        "subprocess",
        "_posixsubprocess",
        "sys",
        "socket",
        "_socket",
        "pty",
        "runpy",
        "ctypes",
        "_ctypes",
        "shutil",
        "importlib",
        "imp",
        "code",
        "codeop",
        "pickle",
        "_pickle",
        "marshal",
        "commands",
        "popen2",
        "webbrowser",
        "multiprocessing.util",
        "asyncio.unix_events",
        "asyncio.subprocess",
        "tempfile",
        "ftplib",
        "http.client",
        "http.server",
        "urllib.request",
        "requests",
        "httpx",
        "smtplib",
        "telnetlib",
        "xmlrpc.client",
        "pdb",
        "bdb",
        "timeit",
        "trace",
        "profile",
        "cProfile",
        "doctest",
        "pydoc",
        "ensurepip",
        "pip",
        "pkgutil",
        "zipimport",
        "zipapp",
        "venv",
        "idlelib.pyshell",
        "lib2to3.pgen2.grammar",
        "numpy.f2py.crackfortran",
        "numpy.testing._private.utils",
        "torch.utils._config_module",
        "torch.utils.bottleneck.__main__",
        "torch.hub",
        "cffi",
        "dill",
        "joblib.numpy_pickle_utils",
    ]
)
_NAMES = frozenset(
    {
        *(
            ("builtins", name)
            for name in ["eval", "exec", "execfile", "compile", "open", "file", "__import__"]
        ),
        *(
            ("builtins", name)
            for name in ["input", "breakpoint", "apply", "globals", "locals", "vars"]
        ),
        *(("builtins", name) for name in ["setattr", "delattr", "memoryview"]),
        *(("types", name) for name in ["CodeType", "FunctionType", "LambdaType", "MethodType"]),
        *(("torch", name) for name in ["load", "save", "compile"]),
        *(("operator", name) for name in ["methodcaller", "attrgetter"]),
        *(("_operator", name) for name in ["methodcaller", "attrgetter"]),
        ("torch.serialization", "load"),
        ("torch.jit", "load"),
        ("torch.jit._serialization", "load"),
        ("numpy", "load"),
        ("pandas", "read_pickle"),
        ("joblib", "load"),
        ("functools", "reduce"),
        ("io", "open"),
        ("io", "FileIO"),
        ("_io", "open"),
        ("_io", "FileIO"),
        ("codecs", "open"),
        ("copyreg", "add_extension"),
        ("site", "main"),
        ("test.support.script_helper", "assert_python_ok"),
    }
)
_PACKAGES = frozenset(("os", "subprocess", "ctypes", "pip"))
_REACHED = frozenset(
    [
        "os",
        "sys",
        "posix",
        "nt",
        "subprocess",
        "builtins",
        "__builtins__",
        "__globals__",
        "__subclasses__",
        "importlib",
        "ctypes",
        "shutil",
        "socket",
        "pty",
        "runpy",
    ]
)
_HARMLESS = frozenset(
    {("os", "PathLike"), ("os", "stat_result"), ("os", "terminal_size"), ("sys", "version_info")}
)


def is_alarming(module: str, name: str) -> bool:
    """Whether a global is on the alarm list.

    A name with dots walks from attribute to attribute (``pathlib`` and ``os.system``), and a
    module's imports are its attributes too (``torch`` and ``os``): each part counts.
    """
    parts = name.split(".")
    if any(part in _REACHED for part in parts):
        return True
    pair = (module, parts[0])
    if pair in _NAMES:
        return True
    inside = module in _MODULES or module.split(".", 1)[0] in _PACKAGES
    return inside and pair not in _HARMLESS
