"""Code of others: it computes, and it can do nothing else."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

import pytest

from tunesmith.core.foreign import Foreign, Limits

KERNEL = sys.platform == "linux" and platform.machine() in ("x86_64", "aarch64")
QUICK = Limits(seconds=5.0)


def outcome(body: str, *args: object, limits: Limits = QUICK):
    source = "def grade(sample=None, item=None):\n" + "".join(f"    {line}\n" for line in body.splitlines())
    with Foreign(source, "grade", where="mine.py", limits=limits) as function:
        return function.call(*args)


def test_a_function_is_called_again_and_again_in_one_process():
    with Foreign("calls = []\ndef f(x):\n    calls.append(x)\n    return len(calls) + x", "f") as function:
        assert [function.call(n).value for n in (1, 10)] == [2, 12]
        assert function.call(x=5).value == 8
        assert function.facts.parameters == ("x",)


def test_attributes_of_a_function_are_told():
    source = "def f(answer, *, reference):\n    return 1\nf.scale = 100\nf.higher_is_better = False"
    with Foreign(source, "f") as function:
        assert function.facts.parameters == ("answer", "reference")
        assert function.facts.attributes == {"scale": 100, "higher_is_better": False}
        assert not KERNEL or function.facts.isolation == "kernel"


def test_errors_come_with_their_line():
    found = outcome("x = 1\nreturn x / 0")
    assert (found.fault, found.detail) == ("raised", "ZeroDivisionError: division by zero (line 3)")
    with Foreign("def grade(:", "grade") as broken:
        assert broken.broken is not None
        assert "SyntaxError" in broken.call().detail
    with Foreign("x = 1", "grade", where="mine.py") as missing:
        assert missing.call().detail == "mine.py defines no function grade"


def test_what_it_prints_is_not_taken_for_its_result():
    assert outcome("print('{\"value\": 9}', flush=True)\nreturn 0.5").value == 0.5
    assert outcome("import sys\nsys.stdin.read()\nreturn 0.5").value == 0.5


def test_a_call_that_takes_too_long_is_ended_and_the_next_one_works():
    source = "def f(n):\n    while n: pass\n    return 1.0"
    with Foreign(source, "f", limits=Limits(seconds=1.0)) as function:
        assert function.call(1).fault == "timeout"
        assert function.call(0).value == 1.0


def test_memory_is_limited():
    found = outcome("return len(bytearray(800 * 1024 * 1024))", limits=Limits(5.0, 300 * 1024**2))
    assert found.fault == "raised"
    assert "MemoryError" in found.detail


def test_a_process_that_dies_says_so():
    assert outcome("import os\nos._exit(3)").detail.startswith("the process ended without a result")


def test_numbers_of_numpy_are_numbers():
    assert outcome("import numpy\nreturn numpy.float32(0.25) + numpy.ones(3).sum()").value == 3.25


REFUSED = {
    "network": "import socket\nsocket.create_connection(('127.0.0.1', 9))",
    "raw network": "import _socket\n_socket.socket(2, 1)",
    "writing": "open('/tmp/tunesmith-was-here', 'w')",
    "low writing": "import os\nos.open('/tmp/tunesmith-was-here', os.O_CREAT | os.O_WRONLY)",
    "removing": "import os\nos.remove(item)",
    "folders": "import os\nos.mkdir('/tmp/tunesmith-was-here')",
    "reading": "return open('/etc/passwd').read()",
    "looking": "import os\nreturn os.listdir('/')",
    "processes": "import subprocess\nsubprocess.run(['true'])",
    "shell": "import os\nos.system('true')",
    "forking": "import os\nos.fork()",
    "signals": "import os\nos.kill(os.getppid(), 0)",
    "around the interpreter": "import ctypes\nreturn ctypes.string_at(0)",
    "bytecode": "import types\ngrade.__code__.replace(co_stacksize=9)",
}


@pytest.mark.parametrize("body", REFUSED.values(), ids=REFUSED.keys())
def test_it_can_do_nothing_else(body: str, tmp_path: Path):
    file = tmp_path / "kept"
    file.write_text("kept")
    found = outcome(body, None, str(file))
    assert found.fault == "raised", found
    assert "Error" in found.detail
    assert file.read_text() == "kept"
    assert not os.path.exists("/tmp/tunesmith-was-here")


BELOW_PYTHON = {  # the interpreter's wall is taken away first: what is left is the kernel's
    "network": "net.socket(2, 1)",
    "writing": "posix.open('/tmp/tunesmith-was-here', posix.O_CREAT | posix.O_WRONLY)",
    "removing": "posix.unlink(sys.argv[1])",
    "processes": "posix.execv('/bin/true', ['true'])",
    "forking": "posix.fork()",
    "signals": "posix.kill(posix.getppid(), 0)",
}


@pytest.mark.skipif(not KERNEL, reason="this system has no filter of system calls that we can set")
@pytest.mark.parametrize("body", BELOW_PYTHON.values(), ids=BELOW_PYTHON.keys())
def test_the_kernel_refuses_it_too(body: str, tmp_path: Path):
    import subprocess

    from tunesmith.core import confined

    file = tmp_path / "kept"
    file.write_text("kept")
    program = (
        f"import sys, posix, _socket as net\nsys.path.insert(0, {str(Path(confined.__file__).parent)!r})\n"
        "import confined\nassert confined._filter_system_calls()\n"
        f"try:\n    {body}\nexcept PermissionError:\n    print('refused')\n"
        "import threading\nt = threading.Thread(target=print, args=('a thread',))\nt.start()\nt.join()"
    )
    done = subprocess.run([sys.executable, "-I", "-c", program, str(file)], capture_output=True, text=True, timeout=60)
    assert done.stdout.split("\n")[:2] == ["refused", "a thread"], done.stderr
    assert file.read_text() == "kept"


def test_its_own_folder_can_be_read(tmp_path: Path):
    (tmp_path / "words.txt").write_text("yes")
    (tmp_path / "helper.py").write_text("def half(x): return x / 2")
    source = f"import helper\ndef f():\n    return open({str(tmp_path / 'words.txt')!r}).read(), helper.half(1)"
    with Foreign(source, "f", folders=[tmp_path]) as function:
        assert function.call().value == ["yes", 0.5]
