"""An account at an OpenAI-compatible service, read: its fine-tuning jobs, its files, its tuned models.

Nothing there is changed. The key goes to the address that the user wrote down and nowhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, final
from urllib.parse import urlsplit

from tunesmith.core import store
from tunesmith.core.errors import ConfigError, OfflineError
from tunesmith.core.fetch import offline
from tunesmith.core.records import Record
from tunesmith.serve.remote import EndpointError, Remote, is_private

if TYPE_CHECKING:
    from openai import OpenAI


class RemoteJob(Record):
    """A finished job of the account, as far as it can be run again."""

    id: str
    model: str
    tuned: str
    """The name of what it made; "" where it made nothing."""
    training_file: str
    validation_file: str | None = None
    hyperparameters: Mapping[str, Any] = {}
    method: str = "supervised"
    seed: int | None = None
    suffix: str | None = None
    status: str


@final
class Account:
    """See the module; made by `open_account`."""

    def __init__(self, url: str, client: OpenAI) -> None:
        self.url, self._client = url, client

    def jobs(self) -> Iterator[RemoteJob]:
        """Every job, newest first.

        Raises:
            EndpointError: the account cannot be read.
        """
        yield from self._asked(lambda: [_job(job) for job in self._client.fine_tuning.jobs.list(limit=100)])

    def fetch(self, file: str, target: Path) -> str:
        """Write the content of a file to ``target``; the name that it has there.

        Raises:
            EndpointError: it is gone or may not be read. StorageError: no room.
        """

        def read() -> str:
            name = self._client.files.retrieve(file).filename
            with store.staged_file(target) as staging, self._client.files.with_streaming_response.content(file) as got:
                for piece in got.iter_bytes(1 << 20):
                    store.append_bytes(staging, piece)
            return str(name or file)

        name: str = self._asked(read)
        return name

    def sampler(self, model: str) -> Remote:
        """A model of the account as something that answers."""
        return Remote(model, self.url, self._client)

    def _asked(self, work: Callable[[], Any]) -> Any:
        import openai

        try:
            return work()
        except openai.OpenAIError as error:
            raise EndpointError(
                f"the account does not answer: {str(error).splitlines()[0][:300]}",
                where=self.url,
                rule="files and fine-tuning jobs are read over OpenAI's API",
                fix="check --base-url and --key, and that the key may read files and fine-tuning jobs",
            ) from error


def open_account(url: str, key: str) -> Account:
    """The account behind an address; nothing is sent yet.

    Raises:
        ConfigError: no address. OfflineError: downloads are switched off and it is outside this network.
    """
    if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname:
        raise ConfigError(
            f"{url!r} is no address of a service",
            where="--base-url",
            rule="an address is http://… or https://…, and usually ends in /v1",
            fix="for example https://api.openai.com/v1",
        )
    if offline() and not is_private(url):
        raise OfflineError(
            f"{url} is outside this network",
            where="--base-url",
            rule="with TUNESMITH_OFFLINE set nothing leaves the building",
            fix="unset TUNESMITH_OFFLINE for this command",
        )
    from openai import OpenAI

    return Account(url, OpenAI(base_url=url, api_key=key, max_retries=3, timeout=600))


def _job(job: Any) -> RemoteJob:
    method = job.method
    kind = method.type if method is not None else "supervised"
    part = vars(method).get(kind) if method is not None else None
    chosen = job.hyperparameters or (part.hyperparameters if part is not None else None)
    given = chosen.model_dump(exclude_none=True) if chosen is not None else {}
    wanted = ("n_epochs", "batch_size", "learning_rate_multiplier")
    return RemoteJob(
        id=job.id,
        model=job.model,
        tuned=job.fine_tuned_model or "",
        training_file=job.training_file,
        validation_file=job.validation_file,
        hyperparameters={key: given[key] for key in wanted if key in given},
        method=kind,
        seed=job.seed,
        suffix=(job.model_extra or {}).get("user_provided_suffix"),
        status=job.status,
    )
