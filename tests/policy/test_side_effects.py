"""One door for each kind of side effect: disk, network, hardware, console. And what is never done at all."""

from __future__ import annotations

import ast
from collections.abc import Iterator

import pytest

from tests.policy.source import Module, allowed, calls, imports, modules, parse

DISK = ("core/store.py", "core/disk.py", "core/index.py")
NETWORK = ("core/fetch.py", "serve/", "web/")
HARDWARE = ("core/cores.py", "model/device.py")
CONSOLE = ("cli/", "train/reload.py")  # the second is a process of its own: its output is its answer

FOREIGN = ("core/confined.py",)
"""The program of the process that runs code of others: it has given up files, network and processes by then."""

WRITING_METHODS = {
    "write_text",
    "write_bytes",
    "mkdir",
    "unlink",
    "rename",
    "rmdir",
    "touch",
    "symlink_to",
    "hardlink_to",
    "chmod",
}
WRITING_OS = {"remove", "replace", "makedirs", "removedirs", "link", "symlink", "truncate", "ftruncate", "fsync"}
READING_SHUTIL = {"shutil.disk_usage", "shutil.which", "shutil.get_terminal_size"}
TEMPORARY = {"TemporaryDirectory", "NamedTemporaryFile", "TemporaryFile", "mkdtemp", "mkstemp"}
NETWORK_MODULES = {
    "socket",
    "httpx",
    "requests",
    "urllib.request",
    "urllib3",
    "http.client",
    "huggingface_hub",
    "aiohttp",
}
HARDWARE_CALLS = {
    "torch.get_num_threads",
    "torch.set_num_threads",
    "os.cpu_count",
    "os.process_cpu_count",
    "os.sched_getaffinity",
    "os.sysconf",
    "multiprocessing.cpu_count",
}
NEVER_IMPORTED = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
NEVER_CALLED = {
    "eval",
    "exec",
    "torch.load",
    "torch.save",
    "yaml.unsafe_load",
    "yaml.full_load",
    "numpy.load",
    "np.load",
}


def disk_writes(module: Module) -> Iterator[str]:
    """Calls that create, change or remove files."""
    for name, node in calls(module.tree):
        last = name.rpartition(".")[2]
        if (
            (last == "open" and _mode(name, node).strip("rbt"))
            or ("." in name and last in WRITING_METHODS and not name.startswith("store."))
            or (name.startswith("os.") and last in WRITING_OS)
            or (last == "replace" and "." in name and _looks_like_a_path_replace(name, node))
            or (name.startswith("shutil.") and name not in READING_SHUTIL)
            or last in TEMPORARY
        ):
            yield f"{module.where(node)} {name}(…)"


def _mode(name: str, node: ast.Call) -> str:
    position = 0 if "." in name and name.partition(".")[0] not in ("io", "gzip", "bz2", "lzma", "codecs") else 1
    given = [keyword.value for keyword in node.keywords if keyword.arg == "mode"] or node.args[position : position + 1]
    mode = given[0] if given else None
    return mode.value if isinstance(mode, ast.Constant) and isinstance(mode.value, str) else ""


def _looks_like_a_path_replace(name: str, node: ast.Call) -> bool:
    # Path.replace takes one argument, str.replace two, dataclasses.replace and datetime.replace take keywords
    return len(node.args) == 1 and not node.keywords and not name.startswith(("dataclasses.", "copy."))


def network_uses(module: Module) -> Iterator[str]:
    """Imports of what can reach another machine."""
    for base, name, node in imports(module.tree):
        for full in (base, f"{base}.{name}"):
            if any(full == banned or full.startswith(f"{banned}.") for banned in NETWORK_MODULES):
                yield f"{module.where(node)} {full}"
                break


def hardware_questions(module: Module) -> Iterator[str]:
    """Calls that ask or set what the machine has."""
    yield from (f"{module.where(node)} {name}" for name, node in calls(module.tree) if name in HARDWARE_CALLS)
    yield from (
        f"{module.where(node)} {base}" for base, _, node in imports(module.tree) if base in ("psutil", "resource")
    )


def prints(module: Module) -> Iterator[str]:
    """Writing to the console."""
    for name, node in calls(module.tree):
        if name == "print" or name.startswith(("sys.stdout.", "sys.stderr.")):
            yield f"{module.where(node)} {name}"


def dangers(module: Module) -> Iterator[str]:
    """What runs code from data, or could."""
    for base, name, node in imports(module.tree):
        if base.partition(".")[0] in NEVER_IMPORTED or (base, name) == ("torch", "load"):
            yield f"{module.where(node)} {base}"
    for name, node in calls(module.tree):
        if name in NEVER_CALLED:
            yield f"{module.where(node)} {name}"
        if name in ("jinja2.Environment", "Environment") and not any(k.arg == "autoescape" for k in node.keywords):
            yield f"{module.where(node)} {name}: templates of others need the sandbox, pages of ours need escaping"
        for keyword in node.keywords:
            off = isinstance(keyword.value, ast.Constant) and keyword.value.value is False
            if keyword.arg in ("trust_remote_code", "shell", "allow_pickle") and not off:
                yield f"{module.where(node)} {keyword.arg}="


def test_disk_is_written_in_the_store_only() -> None:
    # a download lands in a temporary folder first; the kernel's mark of most memory is reset through /proc
    # rows that are too many for memory lie in an unnamed file, gone with the process
    places = {"core/fetch.py", "core/spool.py", "model/device.py"}
    assert [w for m in modules() if not allowed(m.name, (*DISK, *places)) for w in disk_writes(m)] == []


def test_network_has_its_doors() -> None:
    assert [u for m in modules() if not allowed(m.name, NETWORK) for u in network_uses(m)] == []


def test_hardware_is_asked_in_one_place() -> None:
    assert [q for m in modules() if not allowed(m.name, (*HARDWARE, *FOREIGN)) for q in hardware_questions(m)] == []


def test_only_the_command_line_prints() -> None:
    assert [p for m in modules() if not allowed(m.name, CONSOLE) for p in prints(m)] == []


def test_no_code_is_run_from_data() -> None:
    assert [d for m in modules() if not allowed(m.name, FOREIGN) for d in dangers(m)] == []


def test_one_backward_pass_in_the_whole_package() -> None:
    found = [m.where(node) for m in modules() for name, node in calls(m.tree) if name.endswith(".backward")]
    assert len(found) == 1, found


@pytest.mark.parametrize(
    "line",
    [
        "open(path, 'w')",
        "open(path, mode='ab')",
        "path.open('x')",
        "gzip.open(path, 'wt')",
        "io.open(path, 'r+')",
        "path.write_text('')",
        "Path('a').mkdir(parents=True)",
        "path.unlink()",
        "path.replace(target)",
        "os.replace(a, b)",
        "os.makedirs(a)",
        "shutil.rmtree(a)",
        "tempfile.mkdtemp()",
    ],
)
def test_writes_are_noticed(line: str) -> None:
    assert len(list(disk_writes(parse("x.py", line)))) == 1


@pytest.mark.parametrize(
    "line",
    [
        "open(path)",
        "open(path, 'rb')",
        "path.open(encoding='utf-8')",
        "gzip.open(path, 'rt')",
        "text.replace('a', 'b')",
        "dataclasses.replace(a, b=1)",
        "replace(record, b=1)",
        "shutil.disk_usage(a)",
        "store.write_text(path, text)",
    ],
)
def test_reads_are_not_mistaken_for_writes(line: str) -> None:
    assert list(disk_writes(parse("x.py", line))) == []


@pytest.mark.parametrize(
    ("rule", "line"),
    [
        (network_uses, "def f():\n    import httpx"),
        (network_uses, "from urllib.request import urlopen"),
        (network_uses, "from urllib import request"),
        (network_uses, "from huggingface_hub import snapshot_download"),
        (hardware_questions, "torch.set_num_threads(2)"),
        (hardware_questions, "import psutil"),
        (prints, "print('x')"),
        (prints, "sys.stdout.write('x')"),
        (dangers, "import pickle"),
        (dangers, "torch.load(path)"),
        (dangers, "eval(text)"),
        (dangers, "load(x, trust_remote_code=True)"),
        (dangers, "subprocess.run(x, shell=flag)"),
        (dangers, "jinja2.Environment()"),
    ],
)
def test_each_rule_bites(rule: object, line: str) -> None:
    assert callable(rule)
    assert len(list(rule(parse("x.py", line)))) == 1


@pytest.mark.parametrize("line", ["from urllib.parse import quote", "model.eval()", "load(x, trust_remote_code=False)"])
def test_each_rule_lets_pass(line: str) -> None:
    module = parse("x.py", line)
    assert [*network_uses(module), *hardware_questions(module), *prints(module), *dangers(module)] == []
