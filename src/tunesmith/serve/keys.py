"""Keys: who may call what. Only digests are kept; a key itself is shown once, when it is made.

A key belongs to a tenant and has scopes. The owner's key (``TUNESMITH_API_KEY``, or the one made at the first start)
may do everything; every other key sees its own tenant's models, aliases, files and jobs, and those of everybody.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tunesmith.core.errors import InputError
from tunesmith.core.records import Record
from tunesmith.core.registry import nearest
from tunesmith.core.store import Workspace

Scope = Literal["inference", "jobs", "metrics", "admin"]
SCOPES: tuple[Scope, ...] = ("inference", "jobs", "metrics", "admin")
"""What a key may do: call models, train and keep files, read the figures of operation, everything."""

KEY_VARIABLE = "TUNESMITH_API_KEY"
KIND = "key"
ADMIN = "admin"
"""Id of the key that is made at the first start."""

FRESH_SECONDS = 1.0
"""A change of the keys counts after this long at the latest."""

_TENANT = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class StoredKey(Record):
    """A key as the workspace keeps it. ``expires``, ``created``: Unix time; ``expires`` 0: never."""

    id: str
    digest: str
    tenant: str = ""
    scopes: tuple[Scope, ...] = ("inference",)
    created: float = 0.0
    expires: float = 0.0
    revoked: bool = False

    def holds(self, now: float) -> bool:
        """Whether it may still be used."""
        return not self.revoked and (not self.expires or now < self.expires)


@dataclass(frozen=True)
class Principal:
    """Who sends a request."""

    tenant: str
    key: str
    scopes: frozenset[str]

    def may(self, scope: str) -> bool:
        """Whether it has the scope; an administrator has all."""
        return scope in self.scopes or "admin" in self.scopes


@dataclass(frozen=True)
class ApiKey:
    """The key that clients send. ``made``: it was just made, and has to be shown once."""

    value: str
    made: bool


def api_key(environment: Mapping[str, str] | None = None) -> ApiKey:
    """The key in ``TUNESMITH_API_KEY``, else a fresh random one.

    Raises:
        InputError: the variable holds something that cannot travel in an HTTP header.
    """
    value = (os.environ if environment is None else environment).get(KEY_VARIABLE)
    if value is None:
        return ApiKey(new_key(), made=True)
    if not value or not value.isascii() or not value.isprintable() or " " in value:
        raise InputError(
            "the API key is empty or has characters that an HTTP header cannot carry",
            where=KEY_VARIABLE,
            rule="a key is printable ASCII without spaces",
            fix=f"set another {KEY_VARIABLE}, or unset it to have one made",
        )
    return ApiKey(value, made=False)


OWNER = Principal("", ADMIN, frozenset({"admin"}))


def key_digest(key: str) -> str:
    """What is kept of a key: its SHA-256. Keys are random and long, so nothing is guessed from it."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()


class Keyring:
    """The keys that a server accepts.

    Args:
        owner: the owner's key, where it is given from outside.
        workspace: where other keys are kept; None: there are none.
    """

    def __init__(self, owner: str = "", workspace: Workspace | None = None) -> None:
        self._owner = key_digest(owner) if owner else ""
        self._workspace = workspace
        self._lock = threading.Lock()
        self._keys: Sequence[StoredKey] = ()
        self._read = 0.0

    def principal(self, key: str) -> Principal | None:
        """Who has this key; None: nobody, or it is revoked or has expired.

        Every known digest is compared, each in constant time: the time tells nothing about any of them.
        """
        given, found = key_digest(key), None
        if self._owner and hmac.compare_digest(given, self._owner):
            found = OWNER
        now = time.time()
        for stored in self._known():
            if hmac.compare_digest(given, stored.digest) and stored.holds(now):
                found = Principal(stored.tenant, stored.id, frozenset(stored.scopes))
        return found

    def _known(self) -> Sequence[StoredKey]:
        if self._workspace is None:
            return ()
        with self._lock:
            if time.monotonic() - self._read > FRESH_SECONDS:
                self._keys = self._workspace.list(KIND, StoredKey)
                self._read = time.monotonic()
            return self._keys


def new_key() -> str:
    """A key that nobody guesses."""
    return "sk-" + secrets.token_urlsafe(32)


def owner_key(workspace: Workspace) -> str | None:
    """The owner's key, made at the first start of this workspace; None when it was made before and is stored."""
    stored = [key for key in workspace.list(KIND, StoredKey) if key.id == ADMIN]
    if stored and stored[0].holds(time.time()):
        return None
    key = new_key()
    record = StoredKey(id=ADMIN, digest=key_digest(key), scopes=("admin",), created=time.time())
    workspace.put(KIND, ADMIN, record)
    return key


def open_keyring(workspace: Workspace) -> tuple[ApiKey, Keyring]:
    """The owner's key and all that a server of this workspace accepts.

    The owner's is in ``TUNESMITH_API_KEY``, or was made at the first start (``value`` "" then: only its digest is
    kept), or is made now, to be shown once.

    Raises:
        InputError: the variable holds something that cannot travel in an HTTP header.
    """
    given = api_key()
    if not given.made:
        return given, Keyring(given.value, workspace)
    made = owner_key(workspace)
    return ApiKey(made or "", made=made is not None), Keyring("", workspace)


def add_key(
    workspace: Workspace, id: str, tenant: str = "", scopes: Iterable[str] = ("inference",), days: float = 0.0
) -> str:
    """Make a key and store what is needed to know it again; the key itself, to be shown once.

    Args:
        id: what to call it.
        tenant: whose it is; "": the owner's.
        scopes: what it may do.
        days: until it expires; 0: never.

    Raises:
        InputError: a name, tenant or scope that cannot be, or a name that is in use.
    """
    chosen = tuple(scope for scope in SCOPES if scope in set(scopes))
    unknown = sorted(set(scopes) - set(SCOPES))
    if unknown or not chosen:
        close = nearest(unknown[0], list(SCOPES), 1) if unknown else []
        raise InputError(
            f"there is no scope {unknown[0]!r}" if unknown else "a key without a scope may do nothing",
            where="--scope",
            rule=f"scopes are {', '.join(SCOPES)}",
            fix=f"did you mean {close[0]!r}?" if close else "give one or more of them",
        )
    for option, value in (("--tenant", tenant), ("NAME", id)):
        if value and not _TENANT.fullmatch(value):
            raise InputError(
                f"{value!r} cannot be used as a name",
                where=option,
                rule="names of keys and tenants are lower-case letters, digits and hyphens, at most 40",
                fix=f"for example {re.sub('[^a-z0-9-]+', '-', value.lower()).strip('-')[:40] or 'team-a'}",
            )
    if any(key.id == id and key.holds(time.time()) for key in workspace.list(KIND, StoredKey)):
        raise InputError(
            f"there is a key called {id!r} already",
            where="NAME",
            rule="every key has a name of its own",
            fix=f"revoke it first (tunesmith keys revoke {id}), or take another name",
        )
    key, now = new_key(), time.time()
    expires = now + days * 86400 if days else 0.0
    record = StoredKey(
        id=id, digest=key_digest(key), tenant=tenant, scopes=chosen, created=now, expires=expires, revoked=False
    )
    workspace.put(KIND, id, record)
    return key


def revoke_key(workspace: Workspace, id: str) -> StoredKey:
    """Let a key count no longer; servers notice within a second.

    Raises:
        InputError: there is no such key.
    """
    record = workspace.get(KIND, id, StoredKey).model_copy(update={"revoked": True})
    workspace.put(KIND, id, record)
    return record


def stored_keys(workspace: Workspace) -> list[StoredKey]:
    """All keys, newest first; their digests tell nothing about them."""
    return workspace.list(KIND, StoredKey)
