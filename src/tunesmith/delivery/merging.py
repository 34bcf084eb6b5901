"""Merge, save, load again, compare, and only then give the folder its name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith import evaluate, held_out, serve
from tunesmith.core import store
from tunesmith.core.artifacts import AdapterCard, Canary, Delivery, Difference, Report
from tunesmith.core.disk import MANIFEST
from tunesmith.core.errors import ModelError
from tunesmith.core.events import Stage
from tunesmith.delivery.source import Opened, Refused
from tunesmith.model.resolve import CARD, model_facts

if TYPE_CHECKING:
    from tunesmith.model.engine import Engine
    from tunesmith.model.load import Base

_ADAPTER, _MERGED = "adapter", "merged"


def merge_opened(opened: Opened, output: Path) -> Delivery:
    """Merge, save, load again, compare, and only then give the folder its name."""
    from tunesmith.model.adapters import read_adapter
    from tunesmith.model.difference import logits_of, release
    from tunesmith.model.merge import merge_into
    from tunesmith.model.trainable import write_model

    assert opened.subject.adapter is not None
    adapter = read_adapter(opened.subject.adapter)
    engine = serve.open_engine(opened.folder, _format_of(opened), opened.emit, serve.public_name(opened.subject.base))
    base, documents = engine.base, opened.documents
    four_bit, came_from = base.four_bit, base.fingerprint
    engine.add_adapter(_ADAPTER, opened.subject.adapter)
    wanted, without = logits_of(base, documents, _ADAPTER), logits_of(base, documents)
    judged = _judged(opened, engine)
    layers = merge_into(base, adapter)
    opened.emit(Stage(title="merging", detail=f"{layers} layers, sums in fp32, saved in {base.format}"))
    with store.staged_folder(output) as staged:
        write_model(base, staged)
        release(base)
        bake(staged, opened)
        merged, differs = _compared(opened, staged, base, (wanted, without))
        report = _measured(opened, judged, merged)
        delivery = Delivery(
            source=opened.order.source,
            format="safetensors",
            number_format=merged.base.format,
            path=str(output),
            size=folder_size(staged),
            difference=differs,
            max_difference=_limit(opened, merged.base),
            report=report,
            notes=_notes(four_bit, merged.base.format),
        )
        delivery = delivery.model_copy(update={"refused": refusal(delivery)})
        if delivery.refused:
            raise Refused(delivery)
        _write_card(staged, opened, merged, came_from, adapter.digest)
        release(merged.base)
    return delivery


def _format_of(opened: Opened) -> str:
    """The very format in which the adapter was trained; where no card says so, that of the base's files."""
    return opened.subject.dtype or stored_format(opened.folder)


def stored_format(folder: Path) -> str:
    """The number format of a model folder's weights: "bfloat16", "float16", "float32"."""
    facts = model_facts(folder)
    return str(facts.get("dtype") or facts.get("torch_dtype") or "float32")


def _judged(opened: Opened, engine: Engine) -> evaluate.Remembered | None:
    """Base + adapter, with its answers to the rows in memory."""
    from tunesmith.model.sample import LocalSampler

    if not opened.examples:
        return None
    judged = evaluate.Remembered(LocalSampler(engine, opened.renderer, _ADAPTER, _ADAPTER))
    opened.emit(Stage(title="measuring the adapter", detail=f"{len(opened.examples)} rows"))
    evaluate.run(_evaluation(opened), [judged], opened.examples, emit=opened.emit)
    return judged


def _evaluation(opened: Opened) -> evaluate.Config:
    assert opened.order.settings is not None
    return opened.order.settings.stage("evaluate", evaluate.Config)


def _compared(opened: Opened, staged: Path, before: Base, logits: tuple[Any, Any]) -> tuple[Engine, Difference]:
    """The merged model as it loads from disk, and how far it is from base + adapter."""
    from tunesmith.model.difference import difference, logits_of
    from tunesmith.model.engine import Engine
    from tunesmith.model.load import load_base

    merged = load_base(staged, before.dtype, before.device)
    wanted, without = logits
    return Engine(merged), difference(wanted, logits_of(merged, opened.documents), without)


def _measured(opened: Opened, judged: evaluate.Remembered | None, merged: Engine) -> Report | None:
    """The merged model against base + adapter, row by row."""
    from tunesmith.model.sample import LocalSampler

    if judged is None:
        return None
    opened.emit(Stage(title="measuring the merged model", detail="on the same rows"))
    samplers = [judged, LocalSampler(merged, opened.renderer, name=_MERGED)]
    report = evaluate.run(_evaluation(opened), samplers, opened.examples, emit=opened.emit)
    opened.workspace.put("report", report.report_id, report)
    return report


def _limit(opened: Opened, merged: Base) -> float:
    from tunesmith.model.difference import MERGE_LIMITS

    stated = opened.order.max_difference
    return MERGE_LIMITS[merged.dtype] if stated is None else stated


def refusal(delivery: Delivery) -> str:
    """Why a delivery is not good enough; "" when it is."""
    from tunesmith.model.difference import LEAST_KEPT

    found = delivery.difference
    if found is not None and not found.relative <= delivery.max_difference:
        allowed = f"allowed are {delivery.max_difference:g}"
        return f"logits differ by up to {found.relative:.2g} standard deviations, {allowed}"
    if found is not None and found.kept is not None and found.kept < LEAST_KEPT:
        return f"only {found.kept:.0%} of what the adapter does is left, at least {LEAST_KEPT:.0%} has to be"
    if delivery.report is not None and delivery.report.verdict == "worse":
        return f"measurably worse on the rows: {delivery.report.sentence}"
    return ""


def _notes(four_bit: bool, form: str) -> tuple[str, ...]:
    if not four_bit:
        return ()
    text = (
        "the adapter was trained on a base in 4 bits, and was merged into those weights, unpacked to "
        f"{form}; in the base's full weights it would be another model, since it makes up for the rounding"
    )
    return (text,)


def bake(staged: Path, opened: Opened) -> None:
    """Make the run's own chat template, and the list of trained rows, part of the folder.

    Raises:
        ModelError: the folder does not give the ids that were trained.
    """
    if opened.subject.chat_template != "model":
        _bake_template(staged, opened.renderer.chat_template)
    if serve.make_renderer(staged).digest != opened.renderer.digest:
        raise ModelError(
            "the written folder gives other ids than the model that was judged",
            where=str(opened.folder),
            rule="tokenizer, chat template and stop tokens are the same before and after",
            fix="report this: it is a fault of Tunesmith; nothing was written",
        )
    lists = held_out.lists_of_trained_rows(opened.subject)
    ids = sorted({id for known in lists for id in known.read_text(encoding="utf-8").split()})
    if ids:
        store.write_text(staged / held_out.TRAINED_ROWS, "\n".join(ids) + "\n")


def _bake_template(staged: Path, text: str) -> None:
    """One template in one place: other files and the entry in ``tokenizer_config.json`` would win somewhere."""
    store.remove(staged / "additional_chat_templates")
    config = staged / "tokenizer_config.json"
    if config.is_file():
        content = json.loads(config.read_text(encoding="utf-8"))
        content.pop("chat_template", None)
        store.write_text(config, json.dumps(content, indent=2, ensure_ascii=False) + "\n")
    store.write_bytes(staged / "chat_template.jinja", text.encode("utf-8"))


def _write_card(staged: Path, opened: Opened, merged: Engine, base_fingerprint: str, adapter_digest: str) -> None:
    """Card and manifest, so that the folder is checked at every load like any other of ours."""
    from tunesmith.model.sample import answer_logprobs

    known = card_of(opened.subject.adapter)
    rows = [(tuple(ids), 1) for ids in replace(opened, examples=()).documents]
    values = answer_logprobs(merged.base, rows)
    canaries = tuple(Canary(tokens=ids, logprobs=tuple(v)) for (ids, _), v in zip(rows, values, strict=True))
    for leftover in (CARD, MANIFEST):  # of a base that was one of ours
        store.remove(staged / leftover)
    card = AdapterCard(
        method=known.method if known else "lora",
        task=known.task if known else "sft",
        base=opened.subject.base,
        base_fingerprint=base_fingerprint,
        renderer_digest=opened.renderer.digest,
        chat_template="model",
        stop_ids=tuple(sorted(opened.renderer.stop_ids)),
        run_id=known.run_id if known else "",
        dtype=merged.base.format,
        canaries=canaries,
        files=digests(staged),
        merged_from=adapter_digest,
    )
    store.write_text(staged / CARD, card.model_dump_json(indent=2) + "\n")
    store.write_manifest(staged)


def card_of(folder: Path | None) -> AdapterCard | None:
    """The card in a folder, where there is one."""
    if folder is None or not (folder / CARD).is_file():
        return None
    return AdapterCard.model_validate_json((folder / CARD).read_bytes())


def digests(folder: Path) -> dict[str, str]:
    """Name → SHA-256 of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path.relative_to(folder).as_posix(): store.file_digest(path) for path in files}


def folder_size(folder: Path) -> int:
    """Bytes of every file below a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
