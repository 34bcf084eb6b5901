"""Answers that have to fit a grammar: at every step the tokens that cannot go on are taken out of the choice.

llguidance does the parsing. It works on bytes, so a tokenizer of any kind will do as long as it is a `tokenizer.json`.
An answer that ends by itself always fits; one that is cut at ``max_tokens`` says so by its finish reason.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from tunesmith.core.errors import InputError, ModelError, TunesmithError
from tunesmith.core.records import Grammar

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer

Tensor = torch.Tensor
KEPT = 64
"""Compiled grammars that are remembered."""

LONGEST = 64 * 1024
"""Longest grammar, in characters. llguidance limits what may become of it: symbols, states, and work for each step."""

WHITESPACE = r"[\x20\x0A\x0D\x09]{1,16}"
"""White space between the parts of a JSON document. Small models that may go on with spaces for ever do so."""


class Matcher:
    """How far one answer has come in its grammar."""

    def __init__(self, matcher: LLMatcher, vocabulary: int) -> None:
        self._matcher, self._vocabulary = matcher, vocabulary

    def allowed(self, stop_ids: frozenset[int]) -> Tensor:
        """(V,) bool: tokens with which the answer may go on; those that end it where it is complete.

        Raises:
            TunesmithError: the grammar became too complex to go on.
        """
        bits = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        if self._matcher.is_error():
            raise _lost(self._matcher.get_error())
        mask = torch.from_numpy(np.unpackbits(bits, count=self._vocabulary, bitorder="little").view(np.bool_))
        mask[list(stop_ids)] = self._matcher.is_accepting()
        return mask

    def took(self, token: int) -> None:
        """The answer goes on with this token.

        Raises:
            TunesmithError: it does not fit.
        """
        if not self._matcher.consume_token(token):
            raise _lost(self._matcher.get_error())


def _lost(message: str) -> TunesmithError:
    return TunesmithError(
        f"the answer cannot go on within its grammar: {_in_a_line(message)}",
        where="response_format",
        rule="at each token the grammar must be decidable within llguidance's limits",
        fix="use a simpler schema: fewer alternatives, shorter patterns",
    )


class Grammars:
    """Compiled grammars for one tokenizer. Safe to use from several threads.

    Args:
        folder: model folder with ``tokenizer.json``.
        vocabulary: logits of the model, which may be more than the tokenizer has tokens.
    """

    def __init__(self, folder: Path, vocabulary: int) -> None:
        self.folder, self.vocabulary = folder, vocabulary
        self._lock, self._building = threading.Lock(), threading.Lock()
        self._tokenizer: LLTokenizer | None = None
        self._compiled: OrderedDict[Grammar, LLMatcher] = OrderedDict()

    def __contains__(self, grammar: Grammar) -> bool:
        """Whether it is compiled already, so that a matcher takes no time."""
        with self._lock:
            return grammar in self._compiled

    def matcher(self, grammar: Grammar) -> Matcher:
        """A matcher at the beginning of an answer; the first of a grammar takes milliseconds to a second.

        Raises:
            InputError: the grammar cannot be compiled, or is too long. ModelError: the folder has no tokenizer.json.
        """
        with self._lock:
            known = self._compiled.get(grammar)
            if known is not None:
                self._compiled.move_to_end(grammar)
        if known is None:
            known = self._compile(grammar)
            with self._lock:
                self._compiled[grammar] = known
                while len(self._compiled) > KEPT:
                    self._compiled.popitem(last=False)
        return Matcher(known.deep_copy(), self.vocabulary)

    def _compile(self, grammar: Grammar) -> LLMatcher:
        from llguidance import LLMatcher, LLParserLimits

        text = _source(grammar)
        matcher = LLMatcher(self._bridge(), text, log_level=0, limits=LLParserLimits(verbose_errors=False))
        if matcher.is_error():
            raise _refused(grammar, _in_a_line(matcher.get_error()))
        return matcher

    def _bridge(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        with self._building:
            if self._tokenizer is None:
                path = self.folder / "tokenizer.json"
                if not path.is_file():
                    raise ModelError(
                        "no tokenizer.json, which a grammar needs",
                        where=str(self.folder),
                        rule="a model folder holds its tokenizer as tokenizer.json",
                        fix="save it once with transformers: AutoTokenizer.from_pretrained(M).save_pretrained(FOLDER)",
                    )
                self._tokenizer = LLTokenizer(_stated(path), n_vocab=self.vocabulary, eos_token=_any_end(path))
            return self._tokenizer


def _stated(path: Path) -> str:
    """The tokenizer as JSON, without the padding and truncation that may stand in it."""
    content = json.loads(path.read_bytes())
    content |= {"padding": None, "truncation": None}
    return json.dumps(content)


def _any_end(path: Path) -> int:
    """A token that llguidance may take for the end of a text; what ends an answer is decided in `Matcher.allowed`."""
    added = json.loads(path.read_bytes()).get("added_tokens") or []
    special = [token["id"] for token in added if token.get("special")]
    return special[-1] if special else 0


def _source(grammar: Grammar) -> str:
    """What llguidance is to compile."""
    from llguidance import LLMatcher

    length = len(grammar.source) + sum(map(len, grammar.choices))
    if length > LONGEST:
        raise _refused(grammar, f"it has {length} characters, and at most {LONGEST} are taken")
    if grammar.kind == "regex":
        return LLMatcher.grammar_from_regex(grammar.source)
    if grammar.kind == "lark":
        return LLMatcher.grammar_from_lark(grammar.source)
    if grammar.kind == "choice":
        if not grammar.choices or not all(grammar.choices):
            raise _refused(grammar, "there is no choice, or one of them is empty")
        return LLMatcher.grammar_from_lark("start: " + " | ".join(map(_quoted, grammar.choices)))
    schema = grammar.source if grammar.kind == "json_schema" else '{"type": "object"}'
    try:
        return LLMatcher.grammar_from_json_schema(schema, overrides={"whitespace_pattern": WHITESPACE})
    except ValueError as error:
        raise _refused(grammar, _in_a_line(str(error))) from error


def _quoted(choice: str) -> str:
    return json.dumps(choice, ensure_ascii=False)


def _in_a_line(message: str) -> str:
    return " ".join(message.split())[:300] or "no reason is given"


def _refused(grammar: Grammar, reason: str) -> InputError:
    return InputError(
        f"the {grammar.kind} cannot be compiled: {reason}",
        where="response_format",
        rule="a grammar is a JSON schema, a regular expression (Rust's), a Lark grammar or a list of choices",
        fix="take out what is named; llguidance's documentation lists the keywords that it knows",
    )
