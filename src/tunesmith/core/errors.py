"""The error tree. Every error says what is wrong, where, the rule, and the way out.

    TunesmithError                 exit code 3: it broke
    ├── InputError                 exit code 2: wrong input or usage
    │   ├── ConfigError            (also ValueError)  an option or a config key
    │   ├── DataError              (also ValueError)  a data file or a row of it
    │   ├── ModelError             a model folder, name or tokenizer that cannot be used
    │   ├── AdapterError           an adapter that does not belong to this base, or cannot be used
    │   └── OfflineError           (also ConnectionError)  a download is needed and not possible
    ├── CorruptArtifactError       (also OSError)  exit code 2: bytes on disk differ from their manifest
    ├── StorageError               (also OSError)  exit code 2: disk full, read-only, not writable
    ├── TrainingError              divergence, NaN, a verification that failed
    └── Interrupted                exit code 130: stopped by the user, state was saved

Doors (cli, web) turn these into text and exit codes, or into an HTTP envelope; nothing else does.
"""

from __future__ import annotations


class TunesmithError(Exception):
    """Base of all errors of ours.

    Args:
        what: what is wrong, with the offending value.
        where: file, line, field or option that it was found in.
        rule: the rule that was broken.
        fix: the way out: what the reader can do now.
        code: short fixed name of the kind of error, for programs; not every error has one.
    """

    exit_code = 3

    def __init__(self, what: str, *, where: str = "", rule: str = "", fix: str = "", code: str = "") -> None:
        self.what, self.where, self.rule, self.fix, self.code = what, where, rule, fix, code
        super().__init__(what, where, rule, fix)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.as_dict()))

    def __str__(self) -> str:
        lines = [f"{self.where}: {self.what}" if self.where else self.what]
        lines += [f"  rule: {self.rule}"] if self.rule else []
        lines += [f"  fix:  {self.fix}"] if self.fix else []
        return "\n".join(lines)

    def as_dict(self) -> dict[str, str]:
        """The error as plain JSON, for ``--json`` and the HTTP envelope."""
        return {
            "type": type(self).__name__,
            "what": self.what,
            "where": self.where,
            "rule": self.rule,
            "fix": self.fix,
            **({"code": self.code} if self.code else {}),
        }


def _rebuild(kind: type[TunesmithError], parts: dict[str, str]) -> TunesmithError:
    return kind(**{name: text for name, text in parts.items() if name != "type"})


class InputError(TunesmithError):
    """The input or the usage is wrong; nothing was written."""

    exit_code = 2


class ConfigError(InputError, ValueError):
    """An unknown key, an impossible value, options that contradict each other."""


class DataError(InputError, ValueError):
    """A data file or a row that cannot be used."""


class ModelError(InputError):
    """A model name, folder or tokenizer that cannot be used."""


class AdapterError(InputError):
    """An adapter that belongs to another base or does not fit it."""


class OfflineError(InputError, ConnectionError):
    """Something has to be downloaded, and the network is switched off or out of reach."""


class CorruptArtifactError(TunesmithError, OSError):
    """A file differs from the size or SHA-256 that its manifest states."""

    exit_code = 2


class StorageError(TunesmithError, OSError):
    """The disk is full, read-only or not writable."""

    exit_code = 2


class TrainingError(TunesmithError):
    """Training diverged, or a check of the finished run failed."""


class Interrupted(TunesmithError):
    """The user stopped the run; a checkpoint was written first."""

    exit_code = 130
