"""A checked configuration made whole: paths that hold from any folder, and `auto` worked out from the model's facts."""

from __future__ import annotations

from pathlib import Path

from tunesmith import curate, evaluate
from tunesmith import train as training
from tunesmith.core.config import Settings
from tunesmith.core.errors import ConfigError
from tunesmith.model.resolve import context_of, width_of
from tunesmith.text.builtin import NAMES

LONGEST_AUTO = 2048
"""``max_length: auto`` is the model's context, but not more than this."""


def with_whole_paths(settings: Settings, path: Path | None) -> Settings:
    """Paths of the file at ``path`` counted from its own folder."""
    here, reason = path.parent if path else Path(), "relative to the config file"
    config = settings.stage("train", training.Config)
    beside = here / config.model if (here / config.model).exists() else Path(config.model)
    if beside.exists():  # an adapter names its base, and must find it from anywhere
        settings = settings.resolve("model", str(beside.resolve()), "absolute path")
    judged = settings.stage("evaluate", evaluate.Config)
    moved = judged.counted_from(here)
    for key, value in moved.model_dump(mode="json").items():
        if value != judged.model_dump(mode="json")[key]:
            settings = settings.resolve(key, value, "absolute path")
    if "datasets" in settings.origins:
        checks = settings.stage("data", curate.Config).checks
        if (whole := checks.counted_from(here)) != checks:
            settings = settings.resolve("checks", whole.model_dump(), "absolute path")
        specs = settings.stage("data", curate.Config).datasets
        files = [{**spec.model_dump(), "path": str(here / Path(spec.path).expanduser())} for spec in specs]
        if files != [spec.model_dump() for spec in specs]:
            settings = settings.resolve("datasets", files, reason)
    output = str(here / Path(config.output_dir).expanduser())
    if output != config.output_dir:
        settings = settings.resolve("output_dir", output, reason)
    template = (here / Path(config.chat_template).expanduser()).absolute()
    if config.chat_template not in ("model", *NAMES) and template.is_file():
        settings = settings.resolve("chat_template", str(template), "absolute path")
    return settings


def for_anywhere(settings: Settings) -> Settings:
    """The same with absolute paths, for what is kept with a run and read again from other folders.

    Messages use the paths as they were given: those are shorter, and what the reader typed.
    """
    specs = settings.stage("data", curate.Config).datasets
    moved = [{**spec.model_dump(), "path": str(Path(spec.path).absolute())} for spec in specs]
    output = str(Path(settings.stage("train", training.Config).output_dir).absolute())
    settings = settings.resolve("datasets", moved, "absolute path")
    return settings.resolve("output_dir", output, "absolute path")


def resolve_autos(settings: Settings, folder: Path) -> Settings:
    """``max_length`` and ``learning_rate`` from the model in ``folder``; ``dtype`` where ``master_dtype`` decides it.

    Raises:
        ConfigError: more than the model's context is asked for, or its width is not stated.
    """
    config = settings.stage("train", training.Config)
    if config.dtype == "auto" and config.master_dtype != "float32":
        reason = f"master_dtype: {config.master_dtype} trains the base's own weights"
        settings = settings.resolve("dtype", config.master_dtype, reason)
    stated = context_of(folder)
    context = stated or LONGEST_AUTO
    if config.max_length == "auto":
        cut = f", cut at {LONGEST_AUTO}" if context > LONGEST_AUTO else ""
        reason = f"the model's context is {context} tokens{cut}"
        settings = settings.resolve("max_length", min(context, LONGEST_AUTO), reason)
    elif stated and config.max_length > stated:
        raise ConfigError(
            f"max_length is {config.max_length}, and the model's context is {context} tokens",
            where=settings.origins["max_length"],
            rule="no row is longer than what the model was made for",
            fix=f"set max_length: auto, or at most {context}; on_too_long: drop leaves longer rows out",
        )
    if config.learning_rate == "auto":
        width = width_of(folder)
        if not width:
            raise ConfigError(
                "learning_rate: auto needs the width of the model, and its config.json has no hidden_size",
                where=settings.origins["learning_rate"],
                rule="the automatic rate follows from the model's width",
                fix="set learning_rate, for example 2e-4 for an adapter",
            )
        rate, reason = training.auto_learning_rate(width, config.method)
        settings = settings.resolve("learning_rate", rate, reason)
    return settings
