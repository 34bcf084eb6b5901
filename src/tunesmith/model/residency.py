"""Adapters that requests can name: many are known, few stand on the base, and changes happen between two steps.

An adapter is known by its digest: a name may move to another digest at any moment, and whoever began on the old one
ends on it. Reading, checking and placing run on the threads of those who ask, or on the loader's; the thread that owns
the engine only looks things up.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from tunesmith.core.errors import CorruptArtifactError, InputError, TunesmithError
from tunesmith.model.adapters import Adapter, detach, read_adapter, read_files, require_fit
from tunesmith.model.load import Base
from tunesmith.model.lora import LoRASpec
from tunesmith.model.router import BASE
from tunesmith.model.virtual import VirtualSpec

RESIDENT = 64
"""Adapters that stand on the base at a time, unless somebody says otherwise."""

State = Literal["ready", "loading", "full"]


@dataclass(eq=False)
class Entry:
    """An adapter, or the base (``key`` ""). ``key``: its name on the base. ``users``: requests that began on it and
    are not over; ``running``: those of them that take part in steps. ``virtual``: how many virtual tokens it has, and
    whether they are embeddings; ``low_rank``: whether it is made of low-rank updates alone. One that is in training has
    no digest."""

    key: str
    digest: str
    virtual: tuple[int, bool] = (0, False)
    low_rank: bool = False
    folder: Path | None = None
    names: set[str] = field(default_factory=set)
    pinned: bool = False
    resident: bool = False
    loading: bool = False
    users: int = 0
    running: int = 0
    error: TunesmithError | None = None


class Residency:
    """The adapters of one base, at most ``limit`` of them on it at a time. Every method may be called by any thread.

    ``changed`` is set whenever an adapter was loaded or could not be.
    """

    def __init__(self, base: Base, limit: int = RESIDENT) -> None:
        self.base, self.limit = base, limit
        self.changed = threading.Event()
        self.loads = 0
        """Adapters that were brought onto the base, again or for the first time."""
        self._plain = Entry(BASE, "", pinned=True, resident=True)
        self._names: dict[str, Entry] = {}
        self._digests: dict[str, Entry] = {}
        self._resident: OrderedDict[str, Entry] = OrderedDict()
        self._coming = 0
        self._lock, self._placing = threading.RLock(), threading.Lock()
        self._loader: ThreadPoolExecutor | None = None

    @property
    def names(self) -> Mapping[str, str]:
        """Name → digest."""
        with self._lock:
            return {name: entry.digest for name, entry in self._names.items()}

    @property
    def resident(self) -> tuple[str, ...]:
        """Digests of what stands on the base, the one not used for longest first."""
        with self._lock:
            return tuple(entry.digest for entry in self._resident.values())

    def add(self, name: str, folder: Path, pinned: bool = False) -> str:
        """Know an adapter under ``name`` from now on; its digest. It is brought onto the base where a place is free.

        A name that is known moves to the new adapter at once; requests that began on the old one end on it.

        Raises:
            InputError: the name is empty, or there is no place for one more pinned adapter.
            AdapterError: it does not belong to this base. CorruptArtifactError: a file was altered.
        """
        if name == BASE:
            raise InputError("an adapter has no name", where="name", rule='"" means the base', fix="give it a name")
        adapter = read_adapter(folder)
        require_fit(self.base, adapter)
        with self._placing:
            with self._lock:
                key = self._free_key(name, adapter.digest)
                entry = self._digests.get(adapter.digest) or new_entry(key, adapter)
                place = self._claim(entry, pinned)
            entry.folder = folder
            if place:
                self._place(entry, adapter)
            with self._lock:
                self._digests[entry.digest] = entry
                entry.pinned = entry.pinned or pinned
                self._rename(name, entry)
        return entry.digest

    def adopt(self, name: str) -> None:
        """Know an adapter that stands on the base under this very name: the one in training."""
        found = self.base.router.virtual.get(name)
        virtual = (found.count, found.embeddings is not None) if found else (0, False)
        with self._lock:
            self._rename(name, Entry(name, "", virtual, pinned=True, resident=True))

    def remove(self, name: str) -> None:
        """Forget a name; the adapter leaves the base when the last request that began on it is over.

        Raises:
            InputError: no adapter has this name.
        """
        with self._lock:
            if name not in self._names:
                raise _unknown(name)
            self._rename(name, None)

    def resize(self, limit: int) -> None:
        """Let at most ``limit`` adapters stand on the base from now on; idle ones beyond that leave it."""
        with self._lock:
            self.limit = limit
            for entry in [e for e in self._resident.values() if not e.pinned and not e.running]:
                if len(self._resident) + self._coming > limit:
                    self._take_off(entry)

    def begin(self, name: str) -> Entry:
        """A request names an adapter by name or digest; `end` it.

        Raises:
            InputError: there is no such adapter.
        """
        with self._lock:
            entry = self._plain if name == BASE else self._names.get(name) or self._digests.get(name)
            if entry is None:
                raise _unknown(name)
            entry.users += 1
            return entry

    def end(self, entry: Entry) -> None:
        """A request that began is over."""
        with self._lock:
            entry.users -= 1
            self._drop_unused(entry)

    def ready(self, entry: Entry) -> State:
        """Whether an adapter stands on the base; where not, it is loaded, if a place can be had.

        Raises:
            TunesmithError: the last try to load it failed.
        """
        with self._lock:
            if entry.resident:
                if entry.key in self._resident:
                    self._resident.move_to_end(entry.key)
                return "ready"
            if entry.loading:
                return "loading"
            if entry.error is not None:
                error, entry.error = entry.error, None
                raise error
            if not self._claim(entry, needed=True):
                return "full"
            entry.loading = True
            if self._loader is None:
                self._loader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="tunesmith-loader")
            self._loader.submit(self._load, entry)
            return "loading"

    def _claim(self, entry: Entry, needed: bool) -> bool:
        """Reserve a place for an adapter that has none; where none is free, what was not used for longest gives way.

        Args:
            needed: somebody waits for it, or it is to be pinned; else only a free place is taken.
        """
        if entry.resident or entry.loading:
            return False
        if len(self._resident) + self._coming >= self.limit:
            idle = (e for e in self._resident.values() if not e.pinned and not e.running)
            out = next(idle, None) if needed else None
            if out is None:
                if needed and all(e.pinned for e in self._resident.values()) and not self._coming:
                    raise InputError(
                        f"there is no place for another adapter: {self.limit} are pinned",
                        where=", ".join(sorted(entry.names)),
                        rule="at most max_resident_adapters stand on the base at a time; pinned ones never leave it",
                        fix="pin fewer adapters, or raise max_resident_adapters",
                    )
                return False
            self._take_off(out)
        self._coming += 1
        return True

    def _place(self, entry: Entry, adapter: Adapter) -> None:
        """Put weights on the base under a name that no step routes to yet. Needs a claim, and ``_placing``."""
        try:
            adapter.spec.place(self.base, entry.key, adapter.weights)
        finally:
            with self._lock:
                self._coming -= 1
        with self._lock:
            entry.resident = True
            self._resident[entry.key] = entry
            self.loads += 1

    def _load(self, entry: Entry) -> None:
        """On the loader's thread."""
        error: TunesmithError | None = None
        placing = False
        try:
            assert entry.folder is not None
            adapter = read_files(entry.folder)
            if adapter.digest != entry.digest:
                raise _altered(entry)
            require_fit(self.base, adapter)
            with self._placing:
                placing = True
                self._place(entry, adapter)
        except TunesmithError as found:
            error = found
        except Exception as found:  # a folder that is gone, a disk that fails: the request must hear of it
            error = _unreadable(entry, found)
        with self._lock:
            self._coming -= not placing
            entry.loading, entry.error = False, error
            self._drop_unused(entry)
        self.changed.set()

    def _free_key(self, name: str, digest: str) -> str:
        taken = {entry.key for entry in (*self._digests.values(), *self._names.values())}
        return name if name not in taken else f"{name}@{digest}"

    def _rename(self, name: str, entry: Entry | None) -> None:
        old = self._names.pop(name, None)
        if old is not None:
            old.names.discard(name)
        if entry is not None:
            entry.names.add(name)
            self._names[name] = entry
        if old is not None and old is not entry:
            self._drop_unused(old)

    def _drop_unused(self, entry: Entry) -> None:
        """Take an adapter off the base that nobody can name or uses any more."""
        if entry.names or entry.users or entry.loading or entry is self._plain:
            return
        if self._digests.get(entry.digest) is entry:
            del self._digests[entry.digest]
        if entry.key in self._resident:
            self._take_off(entry)

    def _take_off(self, entry: Entry) -> None:
        del self._resident[entry.key]
        entry.resident = False
        detach(self.base, entry.key)


def new_entry(key: str, adapter: Adapter) -> Entry:
    """What is known of an adapter from its settings."""
    spec = adapter.spec
    virtual = (spec.count, spec.kind == "prompt") if isinstance(spec, VirtualSpec) else (0, False)
    return Entry(key, adapter.digest, virtual, isinstance(spec, LoRASpec) and not spec.magnitude)


def _unknown(name: str) -> InputError:
    return InputError(
        f"no adapter called {name!r} is loaded",
        where="adapter",
        rule="a request names an adapter that was added, or the base",
        fix="load it first",
    )


def _altered(entry: Entry) -> CorruptArtifactError:
    return CorruptArtifactError(
        f"the adapter was changed since it was added ({entry.digest[:12]})",
        where=str(entry.folder),
        rule="an adapter is what its digest says; another version is another adapter",
        fix="restore the folder, or add the new version",
    )


def _unreadable(entry: Entry, error: Exception) -> TunesmithError:
    return CorruptArtifactError(
        f"the adapter cannot be loaded any more: {type(error).__name__}: {error}",
        where=str(entry.folder),
        rule="an adapter's folder stays as it was as long as requests can name it",
        fix="restore the folder, or remove the adapter",
    )
