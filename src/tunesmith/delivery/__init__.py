"""The thread's last part: what was judged leaves as one model, a folder or a file for other programs.

    merge    base + adapter → a model folder
    export   the same, a plain PEFT folder, or a GGUF file
    promote  an adapter becomes what an alias of the server means

Everything is loaded again from what was written and compared with what was judged, before it gets its name. What is
too far off is not written. It stands above `tunesmith.lifecycle`, whose rows and settings it uses.
"""

from __future__ import annotations

from tunesmith.core.artifacts import Delivery
from tunesmith.core.events import Emit, ignore
from tunesmith.core.store import Workspace
from tunesmith.delivery.formats import copy_model, export_gguf, export_peft
from tunesmith.delivery.merging import merge_opened
from tunesmith.delivery.promoting import Promotion, promote
from tunesmith.delivery.source import Order, Refused, open_source, require_adapter, require_free

__all__ = ["FORMATS", "Order", "Promotion", "export", "merge", "promote"]

FORMATS = ("safetensors", "peft", "gguf")


def merge(order: Order, workspace: Workspace, emit: Emit = ignore) -> Delivery:
    """An adapter's change becomes part of its base's weights: one model folder that needs no adapter.

    ``Delivery.refused`` says why nothing was written, where the result is too far from base + adapter.

    Raises:
        AdapterError: not an adapter, or of a kind that cannot be merged. InputError: something stands at the output.
        StorageError: the place cannot be written.
    """
    require_free(order.output)
    opened = open_source(order, workspace, emit)
    require_adapter(opened.subject, order.source, "merged")
    try:
        return merge_opened(opened, order.output)
    except Refused as stop:
        return stop.delivery


def export(order: Order, form: str, kind: str, workspace: Workspace, emit: Emit = ignore) -> Delivery:
    """A model or an adapter for other programs.

    Args:
        form: one of `FORMATS`.
        kind: of GGUF's matrices: "auto" (as the weights are stored), "f32", "f16", "bf16" or "q8_0".

    Raises:
        AdapterError, ModelError: the format cannot express it. InputError: something stands at the output.
        StorageError: the place cannot be written.
    """
    require_free(order.output)
    if form == "peft":
        return export_peft(order, workspace, emit)
    opened = open_source(order, workspace, emit)
    try:
        if form == "gguf":
            return export_gguf(opened, kind)
        return merge_opened(opened, order.output) if opened.subject.adapter else copy_model(opened)
    except Refused as stop:
        return stop.delivery
