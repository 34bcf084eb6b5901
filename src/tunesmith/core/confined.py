"""The program of a process that runs code of others: one function of one source, called again and again.

It is started by `tunesmith.core.foreign` as a file of its own (``python -I``): it imports the standard library alone.
Before a line of the source runs, the process gives up, for good:

- by the kernel (Linux on x86-64 and ARM64): sockets, new processes, signals to others, and every change to a file;
- by limits of the system: memory, open files, size of files (0), and its life when the parent ends;
- by the interpreter: reading outside of Python's own folders and the one that was named, and the modules that reach
  around the interpreter (ctypes). This wall is lower: it holds against carelessness, the kernel's against malice.

Lines of JSON in (the source first, then arguments), a line of JSON out for each.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import struct
import sys
import sysconfig
import types
from collections.abc import Callable, Mapping
from typing import Any

CPU_SECONDS = 3600
OPEN_FILES = 64
LONGEST_TEXT = 2000

EPERM, ENOSYS = 1, 38
ALLOW, KILL, ERRNO = 0x7FFF0000, 0x80000000, 0x00050000
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC
CLONE_THREAD = 0x00010000
CLONE3, OPENAT2, IO_URING = 435, 437, 425

# Numbers of the system calls that are refused, from the kernel's tables (asm/unistd_64.h, asm-generic/unistd.h):
# sockets; processes and signals; changes of files and of the system; ways around the list.
_X86 = (
    *(41, 42, 43, 44, 46, 49, 50, 53, 288, 307),
    *(57, 58, 59, 62, 101, 129, 200, 234, 297, 310, 311, 322, 424, 434, 438),
    *(76, 77, 82, 83, 84, 85, 86, 87, 88, 90, 91, 92, 93, 94, 132, 133, 188, 189, 190, 235, 258, 259, 260, 261, 263),
    *(
        264,
        265,
        266,
        268,
        280,
        316,
        452,
        155,
        161,
        165,
        166,
        246,
        248,
        249,
        250,
        272,
        298,
        303,
        304,
        308,
        320,
        321,
        323,
    ),
    *(IO_URING, OPENAT2),
)
_ARM = (
    *(198, 199, 200, 201, 202, 203, 206, 211, 242, 269),
    *(117, 129, 130, 131, 138, 221, 240, 270, 271, 281, 424, 434, 438),
    *(
        5,
        6,
        7,
        33,
        34,
        35,
        36,
        37,
        38,
        45,
        46,
        51,
        52,
        53,
        54,
        55,
        88,
        276,
        452,
        39,
        40,
        41,
        97,
        104,
        217,
        218,
        219,
        241,
    ),
    *(264, 265, 268, 280, 282, 294),
    *(IO_URING, OPENAT2),
)
# machine → (name of the architecture for the filter, refused calls, openat, open or None, clone)
_MACHINES: Mapping[str, tuple[int, tuple[int, ...], int, int | None, int]] = {
    "x86_64": (0xC000003E, _X86, 257, 2, 56),
    "aarch64": (0xC00000B7, _ARM, 56, None, 220),
}

_REFUSED_EVENTS = (
    "socket.", "subprocess.", "ctypes.", "shutil.", "tempfile.", "resource.", "syslog.", "winreg.",
    "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill", "os.startfile", "pty.",
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "os.chflags", "os.lockf", "code.__new__", "signal.pthread_kill",
)  # fmt: skip
_REFUSED_MODULES = frozenset({"ctypes", "_ctypes", "_posixsubprocess", "_socket", "_multiprocessing"})


def confine(memory: int, folders: list[str]) -> str:
    """Give everything up; returns "kernel" where the kernel sees to it, "interpreter" where only Python does."""
    limits = {
        resource.RLIMIT_AS: memory,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: OPEN_FILES,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_CPU: CPU_SECONDS,
    }
    for kind, most in limits.items():
        hard = resource.getrlimit(kind)[1]
        value = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (value, value))
    by_kernel = sys.platform == "linux" and _filter_system_calls()
    for name in [name for name in sys.modules if name.partition(".")[0] in _REFUSED_MODULES]:
        del sys.modules[name]
    names = ("stdlib", "platstdlib", "purelib", "platlib")
    roots = {os.path.realpath(path) for path in (*(sysconfig.get_path(name) for name in names), *folders) if path}
    sys.addaudithook(_watch(tuple(f"{root}{os.sep}" for root in roots)))
    return "kernel" if by_kernel else "interpreter"


def _filter_system_calls() -> bool:
    """Have the kernel refuse system calls from now on (seccomp); False where it cannot."""
    machine = _MACHINES.get(platform.machine())
    if machine is None or struct.calcsize("P") != 8:
        return False
    import ctypes

    class Program(ctypes.Structure):
        _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_void_p))

    code = system_call_filter(*machine)
    buffer = ctypes.create_string_buffer(code, len(code))
    program = Program(len(code) // 8, ctypes.cast(buffer, ctypes.c_void_p).value)
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
    set_death_signal, set_no_new_privileges, set_seccomp, filter_mode, sigkill = 1, 38, 22, 2, 9
    prctl(set_death_signal, sigkill, 0, 0, 0)
    if prctl(set_no_new_privileges, 1, 0, 0, 0) != 0:
        return False
    return bool(prctl(set_seccomp, filter_mode, ctypes.addressof(program), 0, 0) == 0)


def system_call_filter(
    architecture: int, refused: tuple[int, ...], openat: int, old_open: int | None, clone: int
) -> bytes:
    """The filter as classic BPF: 8 bytes an instruction. It reads the number of the call and one of its arguments.

    Source: linux/filter.h and linux/seccomp.h; offsets are those of ``struct seccomp_data``.
    """
    load, equal, at_least, has_bits, answer = 0x20, 0x15, 0x35, 0x45, 0x06
    number, arch, arguments = 0, 4, 16
    code: list[tuple[int, int, int, int]] = [
        (load, 0, 0, arch),
        (equal, 1, 0, architecture),
        (answer, 0, 0, KILL),
        (load, 0, 0, number),
        (at_least, 0, 1, 0x40000000),  # the x32 way to the same calls
        (answer, 0, 0, ERRNO | EPERM),
        (equal, 0, 1, CLONE3),  # its flags lie in memory, unreadable here: callers fall back to clone
        (answer, 0, 0, ERRNO | ENOSYS),
    ]
    for call in refused:
        code += [(equal, 0, 1, call), (answer, 0, 0, ERRNO | EPERM)]
    for opening, argument in ((openat, 2), (old_open, 1)):
        if opening is not None:
            code += [
                (equal, 0, 4, opening),
                (load, 0, 0, arguments + 8 * argument),
                (has_bits, 0, 1, WRITING),
                (answer, 0, 0, ERRNO | EPERM),
                (answer, 0, 0, ALLOW),
            ]
    code += [
        (equal, 0, 4, clone),
        (load, 0, 0, arguments),
        (has_bits, 1, 0, CLONE_THREAD),  # a thread is no new process
        (answer, 0, 0, ERRNO | EPERM),
        (answer, 0, 0, ALLOW),
        (answer, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("HBBI", *instruction) for instruction in code)


def _watch(roots: tuple[str, ...]) -> Callable[[str, tuple[Any, ...]], None]:
    """The interpreter's own wall: raises where the source reaches for what it gave up."""

    def inside(path: object) -> bool:
        if isinstance(path, int):
            return True  # an open file; none but the pipes is open
        text = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else os.getcwd()
        return f"{os.path.realpath(text)}{os.sep}".startswith(roots)

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event == "import":
            if str(arguments[0]).partition(".")[0] in _REFUSED_MODULES:
                raise ImportError(f"{arguments[0]} is not there in this process")
        elif event == "open":
            if isinstance(arguments[2], int) and arguments[2] & WRITING:
                raise PermissionError(f"this process writes no files: {arguments[0]}")
            if not inside(arguments[0]):
                raise PermissionError(f"this process may not read {arguments[0]}")
        elif event in ("os.listdir", "os.scandir", "os.chdir"):
            if not inside(arguments[0]):
                raise PermissionError(f"this process may not look into {arguments[0]}")
        elif event.startswith(_REFUSED_EVENTS):
            raise PermissionError(f"this process may not do that: {event}")

    return hook


def _describe(error: BaseException, name: str) -> str:
    """An error in one line, with the line of the source that it comes from."""
    line, trace = 0, error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == name:
            line = trace.tb_lineno
        trace = trace.tb_next
    if isinstance(error, SyntaxError) and error.filename == name:
        line = error.lineno if error.lineno else 0
    text = f"{type(error).__name__}: {error}"[:LONGEST_TEXT]
    return f"{text} (line {line})" if line else text


def _facts(function: Any, isolation: str) -> dict[str, Any]:
    """What the source says about its function: parameters, and the attributes that a metric may have."""
    code = function.__code__
    count = code.co_argcount + code.co_kwonlyargcount
    return {
        "parameters": list(code.co_varnames[:count]),
        "attributes": {k: v for k, v in vars(function).items() if isinstance(v, bool | int | float | str)},
        "isolation": isolation,
    }


def serve(receive: int, send: int) -> None:
    """Take the source, then answer calls until there are no more."""

    def reply(document: Mapping[str, Any]) -> None:
        data = (json.dumps(document, default=float) + "\n").encode()  # default: numbers of numpy
        while data:
            data = data[os.write(send, data) :]

    lines = os.fdopen(receive, "rb")
    order = json.loads(lines.readline())
    name = order["name"]
    isolation = confine(order["memory"], order["folders"])
    sys.path[:0] = order["folders"]
    try:
        space: dict[str, Any] = {"__name__": "confined"}
        exec(compile(order["source"], name, "exec"), space)
        function = space.get(order["function"])
        if not isinstance(function, types.FunctionType):
            reply({"fault": "missing", "detail": f"{name} defines no function {order['function']}"})
            return
        reply({"facts": _facts(function, isolation)})
    except BaseException as error:
        reply({"fault": "raised", "detail": _describe(error, name)})
        return
    for line in lines:
        arguments = json.loads(line)
        try:
            value = function(*arguments["args"], **arguments["kwargs"])
            reply({"value": value})
        except BaseException as error:
            reply({"fault": "raised", "detail": _describe(error, name)})


if __name__ == "__main__":
    private = [os.dup(0), os.dup(1)]  # what the source prints or reads must not get between the lines
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1, 2):
        os.dup2(nothing, standard)
    serve(*private)
