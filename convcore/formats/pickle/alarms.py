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
        "torch.utils._config_module.ConfigModule",
        "torch.utils.collect_env",
        "torch.utils.cpp_extension",
        "torch.utils.data.datapipes.utils.decoder",
        "torch._dynamo.guards",
        "torch._inductor.codecache",
        "torch.fx.experimental.symbolic_shapes",
        "torch.jit.unsupported_tensor_ops",
        "torch.package",
        "torch.distributed.rpc",
        "torch.multiprocessing",
        "cffi",
        "dill",
        "joblib.numpy_pickle_utils",
        "asyncio",
        "atexit",
        "concurrent.futures.process",
        "dbm",
        "fileinput",
        "imaplib",
        "IPython",
        "bpython",
        "httplib",
        "linecache",
        "logging.config",
        "nntplib",
        "poplib",
        "readline",
        "requests.api",
        "aiohttp",
        "aiohttp.client",
        "shelve",
        "site",
        "socketserver",
        "sqlite3",
        "ssl",
        "_ssl",
        "tkinter",
        "unittest.mock",
        "urllib",
        "urllib2",
        "_aix_support",
        "_osx_support",
        "_pyrepl.pager",
        "_testcapi",
        "_xxsubinterpreters",
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
        *(("platform", name) for name in ["popen", "_syscmd_ver", "_syscmd_file"]),
        *(("signal", name) for name in ["signal", "raise_signal", "pthread_kill", "setitimer"]),
        *(("cloudpickle", name) for name in ["load", "loads"]),
        *((f"torch.{part}", "load_library") for part in ["ops", "classes"]),
        ("hydra.utils", "instantiate"),
        ("sklearn.externals.joblib", "load"),
        ("uuid", "_get_command_stdout"),
        ("multiprocessing", "Process"),
        ("multiprocessing.process", "BaseProcess"),
        ("logging", "FileHandler"),
        ("pandas", "eval"),
        ("keras.models", "load_model"),
        ("torch.package", "PackageImporter"),
        ("faulthandler", "_sigsegv"),
        ("resource", "setrlimit"),
        ("test.support.script_helper", "assert_python_ok"),
    }
)
_PACKAGES = frozenset(
    (
        "os",
        "subprocess",
        "ctypes",
        "pip",
        "distutils",
        "ensurepip",
        "idlelib",
        "lib2to3",
        "wsgiref",
        "importlib",
    )
)
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
_METHODS = frozenset(("write_text", "write_bytes", "unlink", "load_library", "load_config"))
_HARMLESS = frozenset(
    {("os", "PathLike"), ("os", "stat_result"), ("os", "terminal_size"), ("sys", "version_info")}
)


def is_alarming(module: str, name: str) -> bool:
    """Whether a global is on the alarm list.

    A name with dots walks from attribute to attribute (``pathlib`` and ``os.system``), and a
    module's imports are its attributes too (``torch`` and ``os``): each part counts.
    """
    parts = name.split(".")
    # Standard modules import one another under private names: argparse and ``_os.system``.
    if any(part in _REACHED or part.lstrip("_") in _REACHED for part in parts):
        return True
    if any(part in _METHODS for part in parts[1:]):
        return True
    pair = (module, parts[0])
    if pair in _NAMES:
        return True
    path = module.split(".")
    # A class of an alarming module; one word alone (``code``) may be somebody's own package.
    within = any(".".join(path[:end]) in _MODULES for end in range(2, len(path)))
    inside = within or module in _MODULES or path[0] in _PACKAGES
    return inside and pair not in _HARMLESS
