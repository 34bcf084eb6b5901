"""Control tokens of chat templates inside the texts of rows.

They come from data that was rendered before it was stored. A model that is trained on them learns to write them, and a
server may take them for the end of an answer. The tokens of the model itself are refused by its chat template; this
check knows those of the usual families, so it also works without a model.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from tunesmith.core.protocols import Progress
from tunesmith.core.records import Action, Edit, Example, Finding
from tunesmith.curate.checks.observe import Outcome, Setting, finding
from tunesmith.curate.checks.values import listed
from tunesmith.curate.corpus import Corpus, Row

CONTROL = "control tokens"

_TOKEN = re.compile(
    r"<\|(?=[^|<>]{2,40}\|)\w+(?: \w+)*\|>"  # ChatML, Llama 3, Phi, GPT: <|im_start|>, <|eot_id|>, <|endoftext|>
    r"|<｜[^｜<>\n]{2,40}｜>"  # DeepSeek
    r"|\[/?INST\]|<</?SYS>>|\[/?(?:TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS)\]"  # Llama 2, Mistral
    r"|</?(?:start|end)_of_(?:turn|image)>"  # Gemma
    r"|<(?:bos|eos|pad|unk)>|</s>|<s>"
    r"|\[gMASK\]|<\|?(?:END|START)_OF_TURN_TOKEN\|?>"  # GLM, Cohere
)
_HINTS = (
    "<|",
    "<｜",
    "[/",
    "[INST",
    "[TOOL",
    "[AVAIL",
    "<<",
    "_of_",
    "<s",
    "</s",
    "os>",
    "<pad",
    "<unk",
    "[gM",
    "_OF_",
)
_PLACEHOLDER = re.compile(r"<(?:s|pad|unk|bos|eos)>")
"""Also how people write "put something here": ``mv <source> <pad>``. Alone it is worth a warning only."""
_STRUCK = re.compile(r"<s>[^<>]{1,500}</s>")
"""Text that HTML strikes through: no token of a template."""


class ControlTokens:
    """Rows whose texts hold control tokens."""

    def __init__(self, setting: Setting) -> None:
        self._measured = setting.measured

    def see(self, row: Row) -> Iterable[Finding]:
        """The tokens of the row; what its chat template refused was said there."""
        if self._measured and row.number in self._measured.problems:
            return ()
        found = [(turn, match) for turn, text in enumerate(_texts(row.example)) for match in tokens_in(text)]
        return [_finding(row.example, found)] if found else ()

    def finish(self, corpus: Corpus, progress: Progress | None) -> Outcome:
        """Nothing is left to say."""
        return Outcome()


def tokens_in(text: str) -> list[re.Match[str]]:
    """Control tokens of the usual chat templates, in order."""
    if not any(hint in text for hint in _HINTS):
        return []
    struck = [match.span() for match in _STRUCK.finditer(text)]
    return [
        match
        for match in _TOKEN.finditer(text)
        if not any(start <= match.start() and match.end() <= end for start, end in struck)
    ]


def _texts(example: Example) -> list[str]:
    target = example.target
    return [target.text] if target.kind == "document" else [message.text for message in example.conversation]


def _finding(example: Example, found: list[tuple[int, re.Match[str]]]) -> Finding:
    turns = sorted({turn + 1 for turn, _ in found})
    names = listed(dict.fromkeys(match[0] for _, match in found), 4)
    is_sure = any(not _PLACEHOLDER.fullmatch(match[0]) for _, match in found)
    where = "the text" if example.is_document else f"turn {listed(map(str, turns))}"
    return finding(
        CONTROL,
        "error" if is_sure else "warning",
        f"{where} holds {names}",
        example,
        "store the text without the template around it: the template is applied when the row is rendered",
        evidence=names,
        action=_removal(example, found) if is_sure else None,
    )


def _removal(example: Example, found: list[tuple[int, re.Match[str]]]) -> Action | None:
    """Cuts tokens off both ends of texts; None where one stands inside, since other turns may be hidden there."""
    texts, edits = _texts(example), []
    for turn, match in found:
        text = texts[turn]
        before, after = _TOKEN.sub("", text[: match.start()]), _TOKEN.sub("", text[match.end() :])
        if before.strip() and after.strip():
            return None
        start = match.start() if before.strip() else 0 if not text[: match.start()].strip() else match.start()
        end = len(text) if not text[match.end() :].strip() else match.end()
        edits.append(Edit(turn=turn, start=start, end=end, text=""))
    return Action(kind="edit", edits=tuple(edits))
