"""Opening what answers: names to engines, samplers, chats and gateways.

Weights are imported inside the functions that need them, so that importing this costs nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.core import store
from tunesmith.core.errors import AdapterError, InputError
from tunesmith.core.events import Emit, Note, ignore
from tunesmith.core.protocols import Sampler
from tunesmith.core.records import Message, Prompt, SamplingParams
from tunesmith.core.store import Workspace
from tunesmith.model.resolve import Subject, resolve_model, resolve_subject, source_of, way_to_trained_base
from tunesmith.serve.config import Config
from tunesmith.serve.embeddings import Embeddings
from tunesmith.serve.feedback import FeedbackBook
from tunesmith.serve.gateway import Gateway
from tunesmith.serve.hot import HotAdapters
from tunesmith.serve.loading import ArtifactLoader
from tunesmith.serve.models import served_models
from tunesmith.serve.traffic import Traffic
from tunesmith.text.template import TemplateRenderer, load_renderer

if TYPE_CHECKING:
    from tunesmith.model.engine import Engine


def make_renderer(folder: Path, chat_template: str = "model", train_on: str = "assistant") -> TemplateRenderer:
    """The renderer of a model folder. A template that can make the model think aloud is told not to, on every path."""
    renderer = load_renderer(folder, chat_template=chat_template, train_on=train_on)
    if "enable_thinking" not in renderer.template_reads:
        return renderer
    quiet = {"enable_thinking": False}
    return load_renderer(folder, chat_template=chat_template, train_on=train_on, chat_template_kwargs=quiet)


def subject_renderer(subject: Subject, folder: Path) -> TemplateRenderer:
    """The renderer that a subject was trained with, proven by its digest."""
    renderer = make_renderer(folder, subject.chat_template)
    if subject.renderer_digest and renderer.digest != subject.renderer_digest:
        raise AdapterError(
            f"{subject.name} was trained with another tokenizer or chat template than {folder} has "
            f"({source_of(folder)})",
            where=subject.name,
            rule="what was trained is what is served: the same ids on every path",
            fix=way_to_trained_base(subject.base, folder)
            or "use the very base folder that it was trained on, or train it again",
        )
    return renderer


def open_engine(folder: Path, dtype: str, emit: Emit, name: str = "", config: Config | None = None) -> Engine:
    """A base in memory, on all cores, ready to answer.

    ``dtype``: "bfloat16", "float32", or "auto" for the hardware's best; with "-nf4" behind it, packed into 4 bits.
    ``config``: of a server; without one the weights stay as they are, so that they can be trained as well.

    Raises:
        ConfigError: weights that this machine or this base cannot have.
    """
    from tunesmith.model import device
    from tunesmith.model.engine import Engine
    from tunesmith.model.load import load_base
    from tunesmith.model.packed import lay_out

    emit(Note(text=device.use_all_cores()))
    wanted, four_bit = device.parse_format(dtype)
    base = load_base(folder, wanted, four_bit=four_bit)
    emit(Note(text=f"loaded {name or folder.name} in {base.format} on {base.device}"))
    if config is None:
        return Engine(base)
    emit(Note(text=lay_out(base, config.weights)))
    cache = None if config.cache_mib is None else config.cache_mib << 20
    running, resident = config.max_running_requests, config.max_resident_adapters
    return Engine(base, running, cache_bytes=cache, max_resident=resident)


def dtype_for(subjects: Iterable[Subject]) -> str:
    """The number format for a base and what was trained on it: float32 stays float32, else the hardware's best.

    Never fewer bits than in training, so that an answer is the one that was judged. A base that an adapter was trained
    on in 4 bits is served in those 4 bits: its full weights are another model.
    """
    formats = [subject.dtype for subject in subjects]
    wide = "float32" if any(name.startswith("float32") for name in formats) else "auto"
    return wide + ("-nf4" if any(name.endswith("-nf4") for name in formats) else "")


def _warn_without_card(subject: Subject, emit: Emit) -> None:
    if subject.adapter is not None and not subject.renderer_digest:
        text = f"{subject.name} has no card: that it belongs to this base is checked by the shapes of its layers only"
        emit(Note(text=text, level="warning"))


def public_name(model: str) -> str:
    """What people and clients call a base: the name itself, or the last part of a path."""
    return Path(model).resolve().name if Path(model).exists() else model


def open_samplers(names: Sequence[str], workspace: Workspace, emit: Emit = ignore) -> list[tuple[Subject, Sampler]]:
    """A sampler for each model, run or adapter; those on the same base share one copy of it in memory.

    A plain base beside what was trained on it is asked through the same template, which is what a comparison means.
    """
    from tunesmith.model.sample import LocalSampler

    engines: dict[Path, Engine] = {}
    opened: list[tuple[Subject, Sampler]] = []
    subjects = [resolve_subject(name, workspace) for name in names]
    folders = [resolve_model(subject.base, workspace, emit) for subject in subjects]
    trained = {folder: s.chat_template for s, folder in zip(subjects, folders, strict=True) if s.renderer_digest}
    subjects = [
        subject
        if subject.adapter or subject.renderer_digest or folder not in trained
        else replace(subject, chat_template=trained[folder])
        for subject, folder in zip(subjects, folders, strict=True)
    ]
    renderers = [subject_renderer(*pair) for pair in zip(subjects, folders, strict=True)]
    for index, (subject, folder, renderer) in enumerate(zip(subjects, folders, renderers, strict=True)):
        _warn_without_card(subject, emit)
        if folder not in engines:
            on_it = (other for other, place in zip(subjects, folders, strict=True) if place == folder)
            engines[folder] = open_engine(folder, dtype_for(on_it), emit, public_name(subject.base))
        adapter = f"{subject.name}#{index}" if subject.adapter else ""
        if subject.adapter:
            engines[folder].add_adapter(adapter, subject.adapter)
        opened.append((subject, LocalSampler(engines[folder], renderer, adapter, subject.name)))
    return opened


def open_chat(
    name: str, params: SamplingParams, workspace: Workspace, emit: Emit = ignore
) -> Callable[[Sequence[Message]], Iterator[str]]:
    """A function from the conversation so far to the pieces of the answer, as they come."""
    from tunesmith.model.sample import LocalSampler

    [(_, sampler)] = open_samplers([name], workspace, emit)
    assert isinstance(sampler, LocalSampler)
    return lambda messages: sampler.stream(Prompt(messages=tuple(messages)), params)


def open_gateway(
    model: str,
    adapters: Mapping[str, str],
    workspace: Workspace,
    config: Config | None = None,
    emit: Emit = ignore,
) -> Gateway:
    """A gateway over a base and named adapters, ready to be started.

    Args:
        model: model, run or adapter; a run or an adapter is served under its name beside its base.
        adapters: name → run, adapter folder or released name.
    """
    subject = resolve_subject(model, workspace)
    folder = resolve_model(subject.base, workspace, emit)
    if subject.adapter and subject.name in adapters:
        raise InputError(
            f"two adapters are called {subject.name!r}",
            where="--adapter",
            rule="every adapter has a name of its own; --model gives a run its folder's name",
            fix=f"give {adapters[subject.name]} another name",
        )
    places = {subject.name: model, **adapters} if subject.adapter else dict(adapters)
    found = {name: _adapter(name, place, workspace, subject.base) for name, place in places.items()}
    renderers = {name: subject_renderer(adapter, folder) for name, (adapter, _) in found.items()}
    # A base beside its run gets the run's template: as in the verdict, and bases without one answer at all.
    base_renderer = subject_renderer(subject, folder)
    dtype = dtype_for([subject, *(adapter for adapter, _ in found.values())])
    engine = open_engine(folder, dtype, emit, public_name(subject.base), config or Config())
    for name, (adapter, weights) in found.items():
        _warn_without_card(adapter, emit)
        engine.add_adapter(name, weights)
        emit(Note(text=f"loaded adapter {name} ({engine.adapters[name][:12]})"))
    base_name = public_name(subject.base) if subject.adapter else subject.name
    models = served_models(engine, base_name, base_renderer, renderers)
    traces, said = workspace.root / "traces.jsonl", workspace.root / "feedback.jsonl"
    loader = ArtifactLoader(
        engine, workspace, lambda path: subject_renderer(resolve_subject(str(path), workspace), folder), base_name
    )
    gateway = Gateway(
        engine,
        models,
        config=config,
        on_trace=lambda trace: store.append_line(traces, trace.model_dump_json()),
        traffic=Traffic(workspace, loader, models[0]),
        book=FeedbackBook(lambda given: store.append_line(said, given.model_dump_json()), traces),
    )
    gateway.hot = HotAdapters(engine, gateway.models, base_name, folder, workspace, gateway.traffic)
    return gateway


def open_embeddings(folder: str) -> Embeddings:
    """The embedding model in a folder, under the folder's name.

    Raises:
        ModelError: no such folder, or a model that does something else.
    """
    from tunesmith.model.embedding import SentenceModel

    path = Path(folder)
    return Embeddings(path.resolve().name, SentenceModel(path))


def _adapter(name: str, place: str, workspace: Workspace, base: str) -> tuple[Subject, Path]:
    """An adapter that is to be served under ``name``, and the folder of its weights."""
    subject = resolve_subject(place, workspace, base)
    if subject.adapter is None:
        raise AdapterError(
            f"{place} is not an adapter",
            where=f"--adapter {name}",
            rule="an adapter is a run, a PEFT folder or a released name",
            fix="give the folder of a run, or its adapter/ folder",
        )
    return subject, subject.adapter
