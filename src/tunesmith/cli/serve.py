"""``tunesmith serve``: answer the OpenAI protocol."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tunesmith.cli.console import Console, JsonOption, SetOption, session
from tunesmith.cli.jobs import DatabaseOption

if TYPE_CHECKING:
    from tunesmith.core.store import Workspace
    from tunesmith.jobs import FineTuning
    from tunesmith.serve import ApiKey, Server


def serve(
    model: Annotated[str, typer.Option("--model", help="Model, or the run or adapter to serve beside its base.")],
    adapter: Annotated[
        list[str] | None, typer.Option("--adapter", help="NAME=PATH of a run or an adapter; may be repeated.")
    ] = None,
    embeddings: Annotated[
        str | None, typer.Option("--embeddings", help="Folder of a sentence-transformers model for /v1/embeddings.")
    ] = None,
    host: Annotated[str | None, typer.Option("--host", help="Address to listen on (127.0.0.1).")] = None,
    port: Annotated[int | None, typer.Option("--port", help="Port to listen on (8000); 0 takes a free one.")] = None,
    config: Annotated[Path | None, typer.Option("--config", help="Config file with serving keys (limits).")] = None,
    jobs: Annotated[
        bool, typer.Option("--jobs/--no-jobs", help="Also take files and fine-tuning jobs, and work at them.")
    ] = True,
    database: DatabaseOption = "",
    set: SetOption = None,
    json: JsonOption = False,
) -> None:
    """Serve a base and its adapters to OpenAI clients until Ctrl-C."""
    with session(json) as console:
        from tunesmith import lifecycle
        from tunesmith import serve as serving
        from tunesmith.core.store import Workspace

        given = {"host": host, "port": port}
        chosen = {f"{key}={value}": f"--{key} {value}" for key, value in given.items() if value is not None}
        with _named_as_typed(chosen):
            settings = lifecycle.load_serving(config, [*(set or []), *chosen])
        adapters = _adapters(adapter or [])
        workspace = Workspace.open()
        key, keyring = serving.open_keyring(workspace)
        sock = serving.bind(settings.host, settings.port)  # a busy port is found before a model is loaded
        gateway = serving.open_gateway(model, adapters, workspace, settings, console.emit)
        if embeddings is not None:
            gateway.embeddings = serving.open_embeddings(embeddings)
        with _fine_tuning(workspace, model, database, jobs) as beside:
            ready = partial(_ready, console, key=key)
            serving.run(gateway, sock=sock, key=key, keyring=keyring, beside=beside, on_ready=ready)
        console.print("stopped")


@contextmanager
def _fine_tuning(workspace: Workspace, model: str, database: str, wanted: bool) -> Iterator[list[FineTuning]]:
    """The service of jobs with somebody who works at them, while the server runs."""
    if not wanted:
        yield []
        return
    from tunesmith.jobs import Worker, service_beside

    service = service_beside(workspace, model, database)
    worker = Worker(service.jobs, workspace, on_look=service.sync)
    worker.start()
    try:
        yield [service]
    finally:
        worker.close()


@contextmanager
def _named_as_typed(options: Mapping[str, str]) -> Iterator[None]:
    """Let errors about ``key=value`` name the option that was typed (``options``: the one → the other)."""
    from tunesmith.core.errors import ConfigError

    try:
        yield
    except ConfigError as error:
        what, where = error.what, error.where
        for override, option in options.items():
            what, where = (text.replace(f"--set {override}", option) for text in (what, where))
        raise ConfigError(what, where=where, rule=error.rule, fix=error.fix) from None


def _adapters(options: list[str]) -> dict[str, str]:
    from tunesmith.core.errors import InputError

    named: dict[str, str] = {}
    for name, path in map(_named, options):
        if name in named:
            raise InputError(
                f"two adapters are called {name!r}",
                where="--adapter",
                rule="every adapter has a name of its own; clients write it into `model`",
                fix=f"give {path} another name",
            )
        named[name] = path
    return named


def _named(text: str) -> tuple[str, str]:
    from tunesmith.core.errors import InputError

    name, equals, path = text.partition("=")
    if not (name and equals and path):
        place = text.strip("=") or "runs/tunesmith"
        raise InputError(
            f"{text!r} names no adapter",
            where="--adapter",
            rule="an adapter is given as NAME=PATH; clients write NAME into `model`",
            fix=f"for example --adapter mine={place}",
        )
    return name, path


def _ready(console: Console, server: Server, key: ApiKey) -> None:
    names = [model.name for model in server.gateway.models]
    console.print("", f"listening on {server.base_url}", f"models: {', '.join(names)}")
    if key.made:
        console.print(f"key:    {key.value}  (made now and shown once; set TUNESMITH_API_KEY to choose your own)")
    elif key.value:
        console.print("key:    the one in TUNESMITH_API_KEY")
    else:
        console.print("key:    the one that the first start showed (another: tunesmith keys add NAME --scope admin)")
    console.print("Ctrl-C stops")
    console.result({"base_url": server.base_url, "models": names, "api_key": key.value if key.made else None})
