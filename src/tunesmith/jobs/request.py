"""The body of a request for a job, read strictly: every field is honoured or refused by its name.

OpenAI's fields, and beside them ours (``extra_body`` of its client), named as Together's API and our configuration
have them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from tunesmith import curate, evaluate
from tunesmith import train as training
from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.core.registry import nearest
from tunesmith.jobs.errors import JobError
from tunesmith.jobs.names import check_suffix
from tunesmith.text.builtin import NAMES

Auto = Literal["auto"]

OPENAI = (
    "model",
    "training_file",
    "validation_file",
    "suffix",
    "seed",
    "metadata",
    "integrations",
    "method",
    "hyperparameters",
)
HYPERPARAMETERS = ("n_epochs", "batch_size", "learning_rate_multiplier")
MOST_EPOCHS, MOST_BATCH, MOST_SEED = 50, 256, 2**31 - 1
PAIRS, KEY_LENGTH, VALUE_LENGTH = 16, 64, 512

KEYS: Mapping[str, tuple[str, str]] = {
    "adapter_method": ("train", "method"),
    "lora_r": ("adapter", "lora_r"),
    "lora_alpha": ("adapter", "lora_alpha"),
    "lora_dropout": ("adapter", "lora_dropout"),
    "lora_trainable_modules": ("adapter", "lora_target_modules"),
    "lora_target_modules": ("adapter", "lora_target_modules"),
    "use_rslora": ("adapter", "use_rslora"),
    "use_dora": ("adapter", "use_dora"),
    "loraplus_lr_ratio": ("adapter", "loraplus_lr_ratio"),
    "num_virtual_tokens": ("adapter", "num_virtual_tokens"),
    "bottleneck_size": ("adapter", "bottleneck_size"),
    "lr_scheduler_type": ("train", "lr_scheduler_type"),
    "warmup_ratio": ("train", "warmup_ratio"),
    "weight_decay": ("train", "weight_decay"),
    "max_grad_norm": ("train", "max_grad_norm"),
    "max_steps": ("train", "max_steps"),
    "max_seq_length": ("train", "max_length"),
    "max_length": ("train", "max_length"),
    "gradient_accumulation_steps": ("train", "gradient_accumulation_steps"),
    "eval_steps": ("train", "eval_steps"),
    "early_stopping_patience": ("train", "early_stopping_patience"),
    "train_on": ("train", "train_on"),
    "chat_template": ("train", "chat_template"),
    "val_size": ("data", "val_size"),
    "test_size": ("data", "test_size"),
    "on_too_long": ("data", "on_too_long"),
    "primary_metric": ("evaluate", "primary_metric"),
}
"""Field of the request → part and key of the configuration that it sets."""

MODELS: Mapping[str, type[BaseModel]] = {
    "train": training.Config,
    "adapter": training.AdapterConfig,
    "data": curate.Config,
    "evaluate": evaluate.Config,
}
REQUIRED: Mapping[str, Mapping[str, Any]] = {"data": {"datasets": [{"path": "rows.jsonl"}]}}
"""What a part of the configuration cannot be checked without."""

OTHERS = (
    "test_file",
    "learning_rate",
    "early_stopping_enabled",
    "train_on_inputs",
    "packing",
    "price_per_hour",
    "measure",
)
"""Fields of ours that set no key by themselves."""


class Request(Record):
    """A request whose every field is known and in its range; nothing is worked out yet."""

    model: str
    training_file: str
    validation_file: str | None = None
    test_file: str | None = None
    suffix: str | None = None
    seed: int | None = None
    metadata: Mapping[str, str] | None = None
    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"
    learning_rate: float | None = None
    price_per_hour: float | None = None
    measure: bool = False
    """For an estimate: run a few real steps."""
    extras: Mapping[str, Any] = {}
    """As they were sent, for the answer."""
    config: Mapping[str, Any] = {}
    """Keys of the configuration that the extras set."""


def read_request(body: object) -> Request:
    """Check a request, field by field.

    Raises:
        JobError: the first field that is unknown, of another type, out of its range or not served here.
    """
    if not isinstance(body, dict):
        raise JobError("the body is not a JSON object", fix="send an object with model and training_file")
    _refuse_unknown(body)
    sent = {key: value for key, value in body.items() if value is not None}
    if sent.get("integrations"):
        raise JobError(
            "integrations are not served here",
            rule="this server sends nothing to others",
            fix="take integrations out, and follow the job's events",
            param="integrations",
            code="unsupported_parameter",
        )
    extras = {key: value for key, value in sent.items() if key in KEYS or key in OTHERS}
    rate = _number(sent, "learning_rate", above=0) if "learning_rate" in sent else None
    hyper = _hyperparameters(sent)
    if rate is not None and hyper["learning_rate_multiplier"] != "auto":
        raise JobError(
            "learning_rate and learning_rate_multiplier are both given",
            rule="the one is a rate, the other a multiple of the automatic one",
            fix="give one of them",
            param="learning_rate",
        )
    return Request(
        model=_text(sent, "model"),
        training_file=_text(sent, "training_file"),
        validation_file=_text(sent, "validation_file") if "validation_file" in sent else None,
        test_file=_text(sent, "test_file") if "test_file" in sent else None,
        suffix=check_suffix(sent.get("suffix")),
        seed=_whole(sent, "seed", 0, MOST_SEED) if "seed" in sent else None,
        metadata=_metadata(sent.get("metadata")),
        learning_rate=rate,
        price_per_hour=_number(sent, "price_per_hour", above=-1e-12) if "price_per_hour" in sent else None,
        measure=_flag(sent, "measure"),
        extras=extras,
        config=_config(extras),
        **hyper,
    )


def _refuse_unknown(body: Mapping[str, Any]) -> None:
    known = (*OPENAI, *KEYS, *OTHERS)
    for key in body:
        if key not in known:
            near = nearest(key, known)
            raise JobError(
                f"the parameter {key[:80]!r} is not known here",
                rule="every field of a request is honoured or refused, never ignored",
                fix=f"did you mean {near[0]!r}?" if near else "take it out",
                param=key[:80],
                code="unknown_parameter",
            )


def _hyperparameters(sent: Mapping[str, Any]) -> dict[str, Any]:
    """From ``method``, or from the deprecated field at the top, which older tools send alone."""
    place, given = "hyperparameters", sent.get("hyperparameters") or {}
    method = sent.get("method")
    if method is not None:
        kind = method.get("type") if isinstance(method, dict) else None
        if kind in ("dpo", "reinforcement"):
            raise JobError(
                f"the method {kind!r} is not served yet",
                rule="this version trains by supervised",
                fix='use {"type": "supervised"} with rows of questions and wanted answers',
                param="method.type",
                code="unsupported_method",
            )
        if kind != "supervised":
            raise JobError(
                f"{kind!r} is no method of training",
                rule='method is {"type": "supervised", "supervised": {"hyperparameters": {…}}}',
                fix="use supervised",
                param="method.type",
            )
        inner = method.get("supervised") or {}
        more = inner.get("hyperparameters") or {} if isinstance(inner, dict) else {}
        if more and given and more != given:
            raise JobError(
                "hyperparameters are given twice, and differ",
                rule="they stand in method.supervised, or (deprecated) at the top",
                fix="give them once",
                param="hyperparameters",
            )
        if more:
            place, given = "method.supervised.hyperparameters", more
    if not isinstance(given, dict):
        raise JobError(f"{place} is not an object", fix='for example {"n_epochs": 3}', param=place)
    for key in given:
        if key not in HYPERPARAMETERS:
            near = nearest(key, HYPERPARAMETERS)
            raise JobError(
                f"the hyper-parameter {key[:80]!r} is not known here",
                rule=f"hyper-parameters are {', '.join(HYPERPARAMETERS)}; others stand beside model in the request",
                fix=f"did you mean {near[0]!r}?" if near else "take it out",
                param=f"{place}.{key[:80]}",
                code="unknown_parameter",
            )
    found: dict[str, Any] = {}
    for key, read in (
        ("n_epochs", lambda key: _whole(given, key, 1, MOST_EPOCHS, place)),
        ("batch_size", lambda key: _whole(given, key, 1, MOST_BATCH, place)),
        ("learning_rate_multiplier", lambda key: _number(given, key, 0, place)),
    ):
        found[key] = "auto" if given.get(key) in (None, "auto") else read(key)
    return found


def _text(sent: Mapping[str, Any], key: str) -> str:
    value = sent.get(key)
    if not isinstance(value, str) or not value:
        what = f"the parameter {key!r} is missing" if value is None else f"{value!r} is no {key}"
        raise JobError(what, fix=f"give {key}", param=key, code="missing_required_parameter")
    return value


def _whole(sent: Mapping[str, Any], key: str, least: int, most: int, place: str = "") -> int:
    value = sent[key]
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise JobError(
            f"{key} is {value!r}",
            rule=f"{key} is a whole number from {least} to {most}" + (', or "auto"' if place else ""),
            fix=f"give a number from {least} to {most}",
            param=f"{place}.{key}" if place else key,
        )
    return value


def _number(sent: Mapping[str, Any], key: str, above: float, place: str = "") -> float:
    value = sent[key]
    if isinstance(value, bool) or not isinstance(value, int | float) or not above < value < 1e6:
        raise JobError(
            f"{key} is {value!r}",
            rule=f"{key} is a number above {max(above, 0):g}" + (', or "auto"' if place else ""),
            fix="for example 1.0",
            param=f"{place}.{key}" if place else key,
        )
    return float(value)


def _flag(sent: Mapping[str, Any], key: str) -> bool:
    value = sent.get(key, False)
    if not isinstance(value, bool):
        raise JobError(f"{key} is {value!r}", rule=f"{key} is true or false", fix="correct it", param=key)
    return value


def _metadata(value: object) -> Mapping[str, str] | None:
    if value is None:
        return None
    fine = isinstance(value, dict) and len(value) <= PAIRS
    if not fine or not all(
        isinstance(k, str) and isinstance(v, str) and len(k) <= KEY_LENGTH and len(v) <= VALUE_LENGTH
        for k, v in value.items()  # type: ignore[attr-defined]
    ):
        raise JobError(
            "metadata is not a small mapping of texts",
            rule=f"up to {PAIRS} pairs, keys up to {KEY_LENGTH} and values up to {VALUE_LENGTH} characters",
            fix='for example {"customer": "legal"}',
            param="metadata",
        )
    return dict(value)  # type: ignore[call-overload, no-any-return]


def _config(extras: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the configuration, each value checked against its own rule."""
    values = {KEYS[name][1]: _checked(name, value) for name, value in extras.items() if name in KEYS}
    if extras.get("packing", True) is not True:
        raise JobError(
            "packing cannot be switched off",
            rule="rows are packed without touching each other; an unpacked run would give the same weights, later",
            fix="take packing out",
            param="packing",
        )
    if extras.get("early_stopping_enabled") is False:
        values["early_stopping_patience"] = 0
    on_inputs = extras.get("train_on_inputs", "auto")
    if on_inputs not in (True, False, "auto"):
        what = f"train_on_inputs is {on_inputs!r}"
        raise JobError(what, rule='it is true, false or "auto"', fix="leave it out", param="train_on_inputs")
    if on_inputs is True:
        values["train_on"] = "all"
    if "lora_r" in values and "lora_alpha" not in values:
        values["lora_alpha"] = 2.0 * values["lora_r"]
    method = values.get("method", "lora")
    if method == "full":
        raise JobError(
            "all weights cannot be trained through this API",
            rule="a job makes an adapter, which is served beside its base",
            fix="use adapter_method lora, or `tunesmith train` with method: full",
            param="adapter_method",
        )
    adapter = {key: value for key, value in values.items() if key in training.AdapterConfig.model_fields}
    origins = {key: _sent_as(key, extras) for key in training.AdapterConfig.model_fields}
    as_job_error(lambda: training.refuse_unread(method, training.AdapterConfig(**adapter), origins))
    return values


def _sent_as(key: str, extras: Mapping[str, Any]) -> str:
    return next((name for name in extras if name in KEYS and KEYS[name][1] == key), key)


def _checked(name: str, value: Any) -> Any:
    part, key = KEYS[name]
    if key == "chat_template" and value not in ("model", *NAMES):
        raise JobError(
            f"there is no chat template {value!r}",
            rule="a request names a built-in template; files of the server are not read for it",
            fix=f"use one of: model, {', '.join(NAMES)}",
            param=name,
        )
    try:
        checked = MODELS[part].model_validate_json(json.dumps({**REQUIRED.get(part, {}), key: value}), strict=True)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise JobError(
            f"{name} is {value!r}: {first['msg'][:1].lower()}{first['msg'][1:]}",
            rule=MODELS[part].model_fields[key].description or "",
            fix="correct it, or leave it out",
            param=name,
        ) from error
    return checked.model_dump(mode="json")[key]


def as_job_error(work: Callable[[], Any], param: str = "") -> Any:
    """Run ``work``; an error of the configuration becomes one of the request."""
    try:
        return work()
    except ConfigError as error:
        raise JobError(error.what, rule=error.rule, fix=error.fix, param=param or error.where) from error
