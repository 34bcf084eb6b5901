"""Where the server listens, and how much it takes on."""

from __future__ import annotations

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record


class Config(Record):
    """Options of `tunesmith serve`. Every limit answers with an error that names it; nothing is cut silently."""

    host: str = Field(
        default="127.0.0.1", min_length=1, description="Address to listen on; 0.0.0.0 opens the server to the network."
    )
    port: int = Field(default=8000, ge=0, le=65535, description="Port to listen on; 0 takes any free one.")
    max_pending_requests: int = Field(
        default=64, ge=1, description="Answers that may run or wait at the same time; one more gets status 429."
    )
    max_pending_per_tenant: int | None = Field(
        default=None, ge=1, description="The same for each tenant by itself; not set: no tenant has a limit of its own."
    )
    max_running_requests: int = Field(
        default=32,
        ge=1,
        description="Answers that the engine works on at a time; more wait, each tenant in turn.",
    )
    max_choices: int = Field(
        default=16,
        ge=1,
        description="Most answers that one request may ask for (n times the number of prompts), at most "
        "max_pending_requests; not set, it follows a smaller max_pending_requests.",
    )
    max_response_tokens: int = Field(
        default=8192, ge=1, description="Longest answer, in tokens, that a request may ask for."
    )
    max_body_bytes: int = Field(
        default=4 * 1024 * 1024, ge=1024, description="Largest request body, in bytes; a larger one gets status 413."
    )
    max_upload_bytes: int = Field(
        default=512 * 1024 * 1024, ge=1024, description="Largest file that may be uploaded, in bytes."
    )
    max_schema_bytes: int = Field(
        default=64 * 1024, ge=256, description="Largest JSON schema (of an answer, or of all tools together), in bytes."
    )
    weights: Literal["auto", "plain", "packed", "int8"] = Field(
        default="auto",
        description="How the base's weights lie in memory: plain; packed, a second copy that is multiplied faster, "
        "with the same results; int8, half of what is read for each token, with other results: measure them first. "
        "auto packs where a quarter of the free memory is enough.",
    )
    max_resident_adapters: int = Field(
        default=64, ge=1, description="Adapters in memory at a time; others are loaded when a request names them."
    )
    cache_mib: int | None = Field(
        default=None,
        ge=1,
        description="Memory for keys and values of requests and of known beginnings, in MiB; not set: a quarter of "
        "what is free.",
    )
    price_per_hour: float | None = Field(
        default=None, ge=0.0, description="What an hour of this machine costs; requests are logged with their share."
    )
    shutdown_seconds: float = Field(
        default=10.0, ge=0.0, le=3600.0, description="How long running answers may go on after a stop signal."
    )

    @model_validator(mode="before")
    @classmethod
    def _choices_follow(cls, values: Any) -> Any:
        """Whoever lowers the one knob alone need not know of the other."""
        pending = values.get("max_pending_requests") if isinstance(values, dict) else None
        if type(pending) is int and "max_choices" not in values:
            default = cls.model_fields["max_choices"].default
            return {**values, "max_choices": max(1, min(default, pending))}
        return values

    @model_validator(mode="after")
    def _choices_fit(self) -> Self:
        if self.max_choices > self.max_pending_requests:
            raise ConfigError(
                f"max_choices is {self.max_choices}, max_pending_requests is {self.max_pending_requests}",
                where="max_choices, max_pending_requests",
                rule="max_choices may not be larger than max_pending_requests",
                fix="lower max_choices, or raise max_pending_requests",
            )
        return self
