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
        "platform",
        "multiprocessing.util",
        "asyncio.unix_events",
        "asyncio.subprocess",
        "signal",
        "resource",
        "fcntl",
        "mmap",
        "tempfile",
        "glob",
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
        "linecache",
        "pyexpat",
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
_HARMLESS = frozenset(
    {("os", "PathLike"), ("os", "stat_result"), ("os", "terminal_size"), ("sys", "version_info")}
)


def is_alarming(module: str, name: str) -> bool:
    """Whether a global is on the alarm list; dotted names count with what they begin with."""
    head = name.split(".", 1)[0]
    pair = (module, head)
    if pair in _NAMES:
        return True
    if module in _MODULES or module.split(".", 1)[0] in ("os", "subprocess", "ctypes", "pip"):
        return pair not in _HARMLESS
    # pathlib + "os.system": the name walks out of its module into one of these.
    return "." in name and any(
        part in _MODULES or part in ("__globals__", "__builtins__", "__subclasses__")
        for part in name.split(".")
    )
