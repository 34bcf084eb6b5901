"""The fine-tuning service of a workspace: what the doors call, for one tenant at a time.

service = open_service(workspace, bases)
file = service.upload(…); job = service.create(tenant, body); …
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any, final

from tunesmith import curate, serve
from tunesmith import train as training
from tunesmith.core.errors import DataError, InputError, ModelError
from tunesmith.core.events import ignore
from tunesmith.core.registry import nearest
from tunesmith.core.store import Workspace
from tunesmith.jobs.errors import JobError
from tunesmith.jobs.hyperparameters import FEWEST_ROWS, auto_batch, auto_epochs
from tunesmith.jobs.measuring import measure
from tunesmith.jobs.records import Job, Spec, StoredFile
from tunesmith.jobs.request import MOST_SEED, Request, read_request
from tunesmith.jobs.serving import Registry, Serving
from tunesmith.jobs.shelf import LONGEST_LIFE, PURPOSES, SHORTEST_LIFE, Shelf
from tunesmith.jobs.store import JobStore, open_store
from tunesmith.model.resolve import context_of, kind_of_adapter, resolve_model, resolve_subject, width_of

KINDS: Mapping[str, str] = {
    "LORA": "lora",
    "IA3": "ia3",
    "BOTTLENECK": "bottleneck",
    "PREFIX_TUNING": "prefix",
    "PROMPT_TUNING": "prompt",
}
"""PEFT's name of a kind of adapter → the method that goes on training it."""


@final
class FineTuning:
    """Files, jobs and tuned models; see the module.

    Args:
        jobs: the queue.
        workspace: where bytes stand.
        bases: name for clients → model (a place on this machine, which a request never names itself).
    """

    def __init__(self, jobs: JobStore, workspace: Workspace, bases: Mapping[str, str]) -> None:
        self.jobs, self.workspace, self.bases = jobs, workspace, dict(bases)
        self.shelf = Shelf(jobs.database, workspace)
        self._serving: Serving | None = None

    def serve_by(self, registry: Registry) -> None:
        """Let a running server call what jobs make, from now on."""
        self._serving = Serving(self.shelf, self.workspace, registry)
        self._serving.sync()

    def sync(self) -> None:
        """Make callable what jobs have made, and forget what was deleted; nothing where no server runs."""
        if self._serving is not None:
            self._serving.sync()

    def delete_model(self, name: str, tenant: str) -> list[str]:
        """Delete a tuned model; see `Shelf.delete_model`.

        Raises:
            JobError: there is no such model, or something leads to it.
        """
        users = self._serving.registry.users(name, tenant) if self._serving else []
        if users:
            raise JobError(
                f"the model {name} is in use: {', '.join(users)}",
                rule="a model goes only when nothing leads to it",
                fix="let them lead to another model first",
                param="model",
                code="model_in_use",
            )
        gone = self.shelf.delete_model(name, tenant)
        self.sync()
        return gone

    # --- files -------------------------------------------------------------------------------------------------------

    def upload(
        self, tenant: str, filename: str, purpose: str, received: Path, seconds: int | None = None
    ) -> StoredFile:
        """Keep an upload; rows to train on are read, and what was found stands in the file's report.

        Raises:
            JobError: a purpose that is not served, or a life that is too short or too long. StorageError: no room.
        """
        check_upload(purpose, seconds)
        name = Path(filename).name or "file"

        def check(path: Path) -> Mapping[str, Any]:
            return curate.validate_rows(path, name)

        return self.shelf.add(
            tenant, name, purpose, received, seconds=seconds, check=check if purpose == "fine-tune" else None
        )

    # --- jobs --------------------------------------------------------------------------------------------------------

    def create(self, tenant: str, body: object, retried: bool = False) -> Job:
        """Put what a request asks for into the queue.

        Raises:
            JobError: something of it cannot be done here; says which field.
        """
        request = read_request(body)
        assert isinstance(body, dict)
        return self.jobs.create(tenant, self.spec(tenant, request), body, retried)

    def spec(self, tenant: str, request: Request) -> Spec:
        """A request with its automatic values worked out, and its files looked up.

        Raises:
            JobError: see `create`.
        """
        base, parent = self._base(tenant, request.model)
        train_file = self._rows(tenant, request, "training_file")
        for name in ("validation_file", "test_file"):
            self._rows(tenant, request, name)
        rows = int((train_file.report or {}).get("nlines", 0))
        folder = self._folder(self.bases[base])
        method = str(request.config.get("method", "lora"))
        if parent is not None:
            method = self._parent_method(request, parent)
        rate, multiplier = self._rate(request, folder, method)
        config = {
            "val_size": 0.0 if request.validation_file else 0.1,
            "test_size": 0.0,
            **request.config,
            "model": self.bases[base],
            "method": method,
            "keep_adapters": True,
            **({"init_adapter": str(parent)} if parent is not None else {}),
        }
        epochs = auto_epochs(rows) if request.n_epochs == "auto" else request.n_epochs
        batch = auto_batch(rows) if request.batch_size == "auto" else request.batch_size
        config |= {
            "num_train_epochs": float(epochs),
            "per_device_train_batch_size": batch,
            "learning_rate": rate * multiplier,
        }
        self._check_length(config, folder)
        return Spec(
            model=request.model,
            base=base,
            training_file=request.training_file,
            validation_file=request.validation_file,
            test_file=request.test_file,
            suffix=request.suffix,
            seed=secrets.randbelow(MOST_SEED) if request.seed is None else request.seed,
            metadata=request.metadata,
            n_epochs=epochs,
            batch_size=batch,
            learning_rate_multiplier=multiplier,
            base_learning_rate=rate,
            extras=request.extras,
            config=config,
            rows=rows,
        )

    def _base(self, tenant: str, model: str) -> tuple[str, Path | None]:
        """The base of a job, and the adapter that it goes on from."""
        if model in self.bases:
            return model, None
        tuned = self.shelf.model(model, tenant)
        if tuned is None:
            known = [*self.bases, *(m.name for m in self.shelf.models(tenant))]
            near = nearest(model, known)
            raise JobError(
                f"there is no model {model[:200]!r} to fine-tune",
                rule="a job trains a base that is served here, or goes on from a model that was tuned on it",
                fix=f"did you mean {near[0]!r}?" if near else f"use one of: {', '.join(self.bases) or '(none)'}",
                param="model",
                code="model_not_found",
                status=404,
            )
        if tuned.base not in self.bases:
            raise JobError(
                f"{model} was tuned on {tuned.base}, which is not served here",
                rule="training goes on from an adapter on the very base that it was trained on",
                fix=f"start the server with {tuned.base}, or use one of: {', '.join(self.bases) or '(none)'}",
                param="model",
                code="model_not_available",
            )
        return tuned.base, self.workspace.artifact(tuned.artifact).path

    def _parent_method(self, request: Request, parent: Path) -> str:
        method = KINDS[kind_of_adapter(parent)]
        shape = [name for name in request.extras if name.startswith(("lora_", "adapter_method", "use_", "num_virtual"))]
        if shape:
            raise JobError(
                f"{shape[0]} is given, and the job goes on from a tuned model",
                rule="the shape of an adapter stays as it is when training goes on",
                fix=f"take {shape[0]} out, or train from the base",
                param=shape[0],
            )
        return method

    def _rows(self, tenant: str, request: Request, param: str) -> StoredFile:
        """A file of rows that can be trained or judged on."""
        id = request.model_dump()[param]
        if id is None:
            return StoredFile(id="", tenant=tenant, filename="", purpose="", bytes=0, sha256="", created_at=0.0)
        try:
            file = self.shelf.file(id, tenant, param)
        except JobError as error:  # a field of a body that names nothing is a bad value, not a missing resource
            raise JobError(error.what, rule=error.rule, fix=error.fix, param=param, code=f"invalid_{param}") from None
        wanted = ("fine-tune",) if param != "test_file" else ("fine-tune", "evals")
        if file.purpose not in wanted:
            raise JobError(
                f"the file {id} was uploaded for {file.purpose!r}",
                rule=f"{param} is a file with the purpose {' or '.join(wanted)}",
                fix="upload it again with purpose fine-tune",
                param=param,
                code=f"invalid_{param}",
            )
        report = file.report or {}
        if not file.usable:
            first = (report.get("findings") or [{}])[0]
            more = int(report.get("unreadable", 1)) - 1
            others = f" ({more} more such rows: see validation_report of the file)" if more > 0 else ""
            raise JobError(
                f"{file.filename} cannot be trained on: {first.get('where', '')}: {first.get('what', '')}{others}",
                rule=str(first.get("rule", "")),
                fix=str(first.get("fix", "")),
                param=param,
                code=f"invalid_{param}",
            )
        fewest = FEWEST_ROWS if param == "training_file" else 1
        if report and int(report["nlines"]) < fewest:
            raise JobError(
                f"the file {file.filename} has {report['nlines']} rows",
                rule=f"a training file has at least {fewest} rows",
                fix=f"add {fewest - int(report['nlines'])} or more; gains are to be expected from 50 to 100 on",
                param=param,
                code=f"invalid_{param}",
            )
        return file

    def _folder(self, model: str) -> Path:
        return resolve_model(model, self.workspace, ignore)

    def _rate(self, request: Request, folder: Path, method: str) -> tuple[float, float]:
        """The automatic learning rate of a model and a kind of adapter, and the multiple of it that is wanted."""
        width = width_of(folder)
        if not width:
            raise ModelError(
                "the model does not state its width, which the automatic learning rate follows from",
                where="model",
                fix="use another base",
            )
        rate, _ = training.auto_learning_rate(width, method)
        if request.learning_rate is not None:
            return rate, request.learning_rate / rate
        wanted = request.learning_rate_multiplier
        return rate, 1.0 if wanted == "auto" else float(wanted)

    def _check_length(self, config: Mapping[str, Any], folder: Path) -> None:
        most, wanted = context_of(folder), config.get("max_length", "auto")
        if most and wanted != "auto" and int(wanted) > most:
            raise JobError(
                f"max_length is {wanted}, and the model's context is {most} tokens",
                rule="no row is longer than what the model was made for",
                fix=f"at most {most}",
                param="max_length",
            )

    # --- what it will take -------------------------------------------------------------------------------------------

    def estimate(self, tenant: str, body: object) -> dict[str, Any]:
        """What a job would take: exact tokens; time, memory and price by earlier jobs, or by a few real steps now.

        Raises:
            JobError: what would be refused of the job itself.
        """
        request = read_request(body)
        spec = self.spec(tenant, request)
        count = self._tokens(tenant, spec)
        trained, price = count["train"] * spec.n_epochs, request.price_per_hour
        if request.measure:
            plan = measure(self.jobs, self.workspace, tenant, spec)
            seconds, peak = sum(plan["seconds"]) / 2, max(plan["peak_memory_bytes"])
            source = f"a few real steps: {plan['tokens_per_second']:,.0f} tokens/s"
        else:
            plan, (seconds, peak, source) = None, self._by_earlier_jobs(spec, trained)
        return {
            "object": "fine_tuning.estimate",
            "model": spec.model,
            "hyperparameters": {
                "n_epochs": spec.n_epochs,
                "batch_size": spec.batch_size,
                "learning_rate_multiplier": spec.learning_rate_multiplier,
            },
            "rows": spec.rows,
            "tokens_per_epoch": count["train"],
            "longest_row_tokens": count["longest"],
            "estimated_tokens": trained,
            "estimated_seconds": seconds,
            "estimated_price": None if seconds is None or price is None else seconds / 3600 * price,
            "peak_memory_bytes": peak,
            "based_on": source,
            "plan": plan,
        }

    def _tokens(self, tenant: str, spec: Spec) -> dict[str, int]:
        file = self.shelf.file(spec.training_file, tenant, "training_file")
        folder = self._folder(self.bases[spec.base])
        renderer = serve.make_renderer(
            folder, str(spec.config.get("chat_template", "model")), str(spec.config.get("train_on", "assistant"))
        )
        total = longest = 0
        try:
            for example in curate.read(curate.DatasetSpec(path=str(self.shelf.path(file)))):
                for row in renderer.example(example):
                    total, longest = total + len(row.tokens), max(longest, len(row.tokens))
        except (DataError, InputError) as error:
            text = error.what.replace(str(self.shelf.path(file)), file.filename)
            raise JobError(
                text, rule=error.rule, fix=error.fix, param="training_file", code="invalid_training_file"
            ) from error
        share = 1.0 - float(spec.config["val_size"]) - float(spec.config["test_size"])
        return {"train": round(total * share), "longest": longest}

    def _by_earlier_jobs(self, spec: Spec, tokens: int) -> tuple[float | None, int | None, str]:
        """Seconds, peak memory and where they come from: the last job of the same kind."""
        jobs, _ = self.jobs.jobs(limit=200, keep=lambda job: job.state == "succeeded")
        for job in jobs:
            result = job.body.result
            same = job.spec.base == spec.base and job.spec.config["method"] == spec.config["method"]
            if same and result and result.seconds > 0:
                peak = (result.estimate or {}).get("peak_memory_bytes")
                seconds = tokens * result.seconds / result.trained_tokens
                return seconds, max(peak) if peak else None, f"the speed of {job.id}"
        return None, None, "not measured: no job on this base has ended yet; measure: true runs a few real steps"


def check_upload(purpose: str, seconds: int | None) -> None:
    """Refuse an upload before its bytes are kept.

    Raises:
        JobError: see `FineTuning.upload`.
    """
    if purpose not in PURPOSES:
        near = nearest(purpose, PURPOSES)
        raise JobError(
            f"the purpose {purpose[:80]!r} is not served here",
            rule=f"files are uploaded for {', '.join(PURPOSES)}",
            fix=f"did you mean {near[0]!r}?" if near else "use fine-tune for rows to train on",
            param="purpose",
        )
    if seconds is not None and not SHORTEST_LIFE <= seconds <= LONGEST_LIFE:
        raise JobError(
            f"expires_after.seconds is {seconds}",
            rule=f"a file is kept for {SHORTEST_LIFE} to {LONGEST_LIFE} seconds, or until it is deleted",
            fix="correct it, or leave expires_after out",
            param="expires_after[seconds]",
        )


def service_beside(workspace: Workspace, model: str, url: str = "") -> FineTuning:
    """The service beside a server of ``model``: jobs train its base.

    Raises:
        ConfigError, StorageError: see `open_store`. InputError: a run that is not finished.
    """
    subject = resolve_subject(model, workspace)
    name = serve.public_name(subject.base) if subject.adapter else subject.name
    return open_service(workspace, {name: subject.base}, url)


def open_service(workspace: Workspace, bases: Mapping[str, str], url: str = "") -> FineTuning:
    """The service of a workspace; ``url`` names another database than its own.

    Raises:
        ConfigError, StorageError: see `open_store`.
    """
    return FineTuning(open_store(workspace.root, url), workspace, bases)
