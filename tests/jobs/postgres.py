"""A PostgreSQL server of Debian's packages, started by the tests where it and its driver are installed."""

from __future__ import annotations

import atexit
import functools
import importlib.util
import os
import pwd
import secrets
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest


def _program(name: str) -> str | None:
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@functools.cache
def _started() -> str:
    """The socket folder of a running server; "" with the reason where there is none."""
    folder = Path(tempfile.mkdtemp(prefix="ts-pg-"))
    user: str | None = None
    if os.getuid() == 0:
        try:
            user = pwd.getpwnam("postgres").pw_name
        except KeyError:
            return ""
        shutil.chown(folder, user)
    initdb, pg_ctl = _program("initdb"), _program("pg_ctl")
    if initdb is None or pg_ctl is None:
        return ""
    data = folder / "data"
    run = functools.partial(subprocess.run, check=True, user=user, cwd=folder, capture_output=True, timeout=60)
    run([initdb, "-D", data, "-U", "tunesmith", "--auth=trust", "--no-sync"])
    options = f"-c listen_addresses='' -c unix_socket_directories={folder} -c fsync=off"
    run([pg_ctl, "-D", data, "-w", "-l", folder / "log", "-o", options, "start"])
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    atexit.register(run, [pg_ctl, "-D", data, "-m", "immediate", "stop"])
    return str(folder)


def server() -> str:
    """The URL of a fresh, empty database; skips the test where there is no server."""
    if _program("initdb") is None or importlib.util.find_spec("psycopg") is None:
        pytest.skip("no PostgreSQL or no driver here: apt-get install postgresql; pip install psycopg[binary]")
    folder = _started()
    if not folder:
        pytest.skip("PostgreSQL cannot be started here: it refuses root, and there is no user `postgres`")
    import psycopg

    name = f"jobs_{secrets.token_hex(4)}"
    with psycopg.connect(host=folder, user="tunesmith", dbname="postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"postgresql+psycopg://tunesmith@/{name}?host={folder}"
