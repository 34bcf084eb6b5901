"""The frame of the HTML pages."""

from __future__ import annotations

import jinja2
import pytest

from tunesmith.text.page import KINDS, chip, fill

TEMPLATE = '{% extends "frame" %}{% block page %}<h1>{{ headline }}</h1>{% endblock %}'


def test_a_page_stands_alone_and_escapes_what_is_filled_in() -> None:
    page = fill(TEMPLATE, {"headline": "<b> & co"})
    assert "<title>&lt;b&gt; &amp; co</title>" in page
    assert "<h1>&lt;b&gt; &amp; co</h1>" in page
    assert "default-src &#39;none&#39;" not in page
    assert "default-src 'none'" in page
    assert ":root {" in page
    assert all(word not in page for word in ("http://", "https://", "<script"))


def test_a_missing_value_is_an_error() -> None:
    with pytest.raises(jinja2.UndefinedError):
        fill(TEMPLATE, {})


def test_every_word_of_a_chip_has_a_symbol_beside_its_colour() -> None:
    assert chip("failed") == {"kind": "worse", "symbol": "✗", "word": "failed"}
    assert all(symbol for _, symbol in KINDS.values())
