"""Formats of other programs: a copied model folder, a plain PEFT folder, one GGUF file."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import serve
from tunesmith.core import store
from tunesmith.core.artifacts import Delivery
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import AdapterError, ModelError
from tunesmith.core.events import Emit, Stage
from tunesmith.core.store import Workspace
from tunesmith.delivery.merging import bake, card_of, digests, folder_size, merge_opened, refusal, stored_format
from tunesmith.delivery.source import Opened, Order, Refused, require_adapter
from tunesmith.model.resolve import ADAPTER_CONFIG, CARD, model_facts, resolve_subject

if TYPE_CHECKING:
    from tunesmith.model.load import Base

MODEL_FILES = (".safetensors", ".json", ".jinja", ".model", ".txt")
"""Files of a model folder that are part of the model."""

PROBES = (
    "The year 2024, 3.14 and 1,000,000!",
    "  two  spaces\n\n\tand tabs",
    "naïve café – 東京 🦙",
    "don't I'LL we've",
)
"""Texts at which ways of splitting differ."""

_EXACT = 1e-3
"""Largest difference where no weight was rounded: the order of sums alone."""


def copy_model(opened: Opened) -> Delivery:
    """A model folder as it is, with the template that it is asked through; weights are compared by their digests."""
    weights = {path.name: store.file_digest(path) for path in opened.folder.glob("*.safetensors")}
    with store.staged_folder(opened.order.output) as staged:
        for path in [*sorted(opened.folder.iterdir()), *opened.folder.glob("additional_chat_templates/*.jinja")]:
            if path.is_file() and path.suffix in MODEL_FILES and path.name not in (CARD, MANIFEST):
                store.copy_file(path, staged / path.relative_to(opened.folder))
        bake(staged, opened)
        changed = [name for name, digest in weights.items() if store.file_digest(staged / name) != digest]
        if changed:
            raise ModelError(
                f"{changed[0]} was not copied as it is",
                where=str(opened.order.output),
                rule="a copy has the SHA-256 of its source",
                fix="check the disk, then run the command again",
            )
        card = card_of(opened.folder)
        if card is not None:
            card = card.model_copy(update={"chat_template": "model", "files": digests(staged)})
            store.write_text(staged / CARD, card.model_dump_json(indent=2) + "\n")
        store.write_manifest(staged)
        size = folder_size(staged)
    return _exact(opened.order, "safetensors", stored_format(opened.folder), size)


def _exact(order: Order, form: str, number_format: str, size: int, notes: tuple[str, ...] = ()) -> Delivery:
    return Delivery(
        source=order.source,
        format=form,
        number_format=number_format,
        path=str(order.output),
        size=size,
        difference=None,
        max_difference=0.0,
        notes=notes,
    )


def export_peft(order: Order, workspace: Workspace, emit: Emit) -> Delivery:
    """The two files that PEFT reads, without ours beside them; read again and compared number by number."""
    subject = resolve_subject(order.source, workspace)
    folder = require_adapter(subject, order.source, "written as a PEFT folder")
    from tunesmith.model.adapters import WEIGHTS, read_adapter

    adapter = read_adapter(folder)
    if adapter.spec.peft_type == "BOTTLENECK":
        raise AdapterError(
            "PEFT has no format for bottleneck adapters",
            where=order.source,
            rule="a PEFT folder holds a kind of adapter that PEFT knows",
            fix="train with method: lora where other programs have to load the adapter",
        )
    with store.staged_folder(order.output) as staged:
        for name in (ADAPTER_CONFIG, WEIGHTS):
            store.copy_file(folder / name, staged / name)
        again = read_adapter(staged)
        if again.spec != adapter.spec or again.digest != adapter.digest or not _same(again.weights, adapter.weights):
            raise AdapterError(
                "the written PEFT folder reads back as another adapter",
                where=str(order.output),
                rule="a copy reads back as its source",
                fix="check the disk, then run the command again",
            )
        size = folder_size(staged)
    notes = [f"the folder names its base as {subject.base}; PEFT does not check that it is the right one"]
    if subject.dtype.endswith("-nf4"):
        notes.append(
            "it was trained on the base in 4 bits (NF4, double quantisation): load the base so, "
            "on its full weights the adapter is another model"
        )
    if subject.chat_template != "model":
        notes.append("its chat template is not part of a PEFT folder: give it to whatever serves it")
    return _exact(order, "peft", "float32", size, tuple(notes))


def _same(one: Any, other: Any) -> bool:
    return one.keys() == other.keys() and all(bool((one[name] == other[name]).all()) for name in one)


def export_gguf(opened: Opened, kind: str) -> Delivery:
    """Merge where there is an adapter, write the file, read it with transformers' reader, compare in fp32."""
    from tunesmith.model.gguf_writer import refuse_architecture

    refuse_architecture(model_facts(opened.folder), opened.order.source)
    with ExitStack() as stack:
        path = stack.enter_context(store.staged_file(opened.order.output))
        folder, merged = opened.folder, None
        if opened.subject.adapter:
            folder = path.parent / "merged"
            merged = merge_opened(opened, folder)
        delivery = _write_gguf(opened, folder, path, kind)
        if merged is not None:
            store.remove(folder)
            delivery = delivery.model_copy(update={"report": merged.report, "notes": merged.notes + delivery.notes})
        if delivery.refused:
            raise Refused(delivery)
    return delivery


def _write_gguf(opened: Opened, folder: Path, path: Path, kind: str) -> Delivery:
    import torch

    from tunesmith.model import gguf_writer
    from tunesmith.model.difference import difference, logits_of, plain_logits, release
    from tunesmith.model.load import load_base

    stored = stored_format(folder)
    kind = {"bfloat16": "bf16", "float16": "f16"}.get(stored, "f32") if kind == "auto" else kind
    opened.emit(Stage(title="writing GGUF", detail=f"{kind}, from weights in {stored}"))
    base = load_base(folder, torch.float32)
    wanted = logits_of(base, opened.documents)
    gguf_writer.write_gguf(path, base, _vocabulary(opened, folder, base), kind, serve.public_name(opened.order.source))
    release(base)
    _require_same_ids(opened, path)
    found = difference(wanted, plain_logits(gguf_writer.read_back(path, base), opened.documents))
    kept = kind == "f32" or (kind, stored) in (("bf16", "bfloat16"), ("f16", "float16"))
    stated = opened.order.max_difference
    limit = (_EXACT if kept else gguf_writer.TYPES[kind][2]) if stated is None else stated
    context = gguf_writer.context_of(base.config)
    cut = base.config.max_position_embeddings > context
    window = f"the file states a context of {context} tokens: beyond it the model's sliding window begins"
    delivery = Delivery(
        source=opened.order.source,
        format="gguf",
        number_format=kind,
        path=str(opened.order.output),
        size=path.stat().st_size,
        difference=found,
        max_difference=limit,
        notes=(window,) if cut else (),
    )
    return delivery.model_copy(update={"refused": refusal(delivery)})


def _vocabulary(opened: Opened, folder: Path, base: Base) -> Any:
    from tunesmith.model.gguf_tokenizer import vocabulary_of

    tokenizer = opened.renderer.tokenizer
    ids = {"bos": tokenizer.bos_id, "eos": tokenizer.eos_id, "pad": tokenizer.pad_id}
    unknown = tokenizer.special.get("unk_token")
    ids["unk"] = tokenizer.id_of(unknown) if unknown else None
    return vocabulary_of(
        folder,
        int(base.config.vocab_size),
        {name: id for name, id in ids.items() if id is not None},
        sorted(opened.renderer.stop_ids),
        bool(tokenizer.prefix_ids),
        opened.renderer.chat_template,
    )


def _require_same_ids(opened: Opened, path: Path) -> None:
    """Raise ModelError when the tokenizer in the file gives other ids than the model's own."""
    from tunesmith.model.difference import NEUTRAL_TEXTS
    from tunesmith.model.gguf_tokenizer import read_back

    backend, template = read_back(path)
    own = opened.renderer.tokenizer
    controls = tuple(own.control)
    for text in (*NEUTRAL_TEXTS, *PROBES, *controls):
        if tuple(backend.encode(text, add_special_tokens=False).ids) != own.ids(text):
            raise ModelError(
                f"the tokenizer in the file gives other ids for {text!r}",
                where=str(opened.order.output),
                rule="what was trained is what is served: the same ids on every path",
                fix="use --format safetensors, and convert that folder with llama.cpp's own converter",
            )
    if template != opened.renderer.chat_template:
        raise ModelError(
            "the chat template in the file is not the one that was trained",
            where=str(opened.order.output),
            rule="a chat template is carried over letter by letter",
            fix="report this: it is a fault of Tunesmith; nothing was written",
        )
