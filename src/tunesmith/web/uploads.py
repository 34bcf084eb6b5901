"""Uploads as they come in: a multipart body whose file goes to the disk piece by piece, never into memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from tunesmith.core import store
from tunesmith.jobs import JobError

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MOST_FIELDS, LONGEST_FIELD, LONGEST_NAME = 16, 1024, 255
PIECE = 1 << 20
"""Bytes that are gathered before they are written."""


@dataclass
class Upload:
    """What came in beside the file: its name, and the other fields."""

    filename: str = ""
    fields: dict[str, str] = field(default_factory=dict)
    has_file: bool = False
    whole: bool = False


class _Form:
    """Hears the parser."""

    def __init__(self) -> None:
        self.upload = Upload()
        self.pending = bytearray()
        self._name = ""
        self._is_file = False
        self._parts = 0
        self._value = bytearray()
        self._header, self._header_value, self._disposition = bytearray(), bytearray(), b""

    def on_part_begin(self) -> None:
        """A new part."""
        self._disposition, self._value = b"", bytearray()
        self._parts += 1
        if self._parts > MOST_FIELDS:
            raise JobError(
                f"there are more than {MOST_FIELDS} fields",
                rule="an upload has purpose, expires_after and file",
                fix="leave the others out",
            )

    def on_header_field(self, data: bytes, start: int, end: int) -> None:
        """A piece of a header's name."""
        self._header += data[start:end]

    def on_header_value(self, data: bytes, start: int, end: int) -> None:
        """A piece of its value."""
        self._header_value += data[start:end]

    def on_header_end(self) -> None:
        """A header is whole."""
        if bytes(self._header).lower() == b"content-disposition":
            self._disposition = bytes(self._header_value)
        self._header, self._header_value = bytearray(), bytearray()

    def on_headers_finished(self) -> None:
        """The part's content comes next."""
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        self._is_file = self._name == "file" and b"filename" in options
        if self._is_file and self.upload.has_file:
            raise JobError("two files came in", rule="one file is uploaded at a time", fix="send one", param="file")
        if self._is_file:
            self.upload.has_file = True
            name = options[b"filename"].decode("utf-8", "replace")
            self.upload.filename = Path(name.replace("\\", "/")).name[-LONGEST_NAME:]

    def on_part_data(self, data: bytes, start: int, end: int) -> None:
        """A piece of the content."""
        if self._is_file:
            self.pending += data[start:end]
            return
        self._value += data[start:end]
        if len(self._value) > LONGEST_FIELD:
            raise JobError(
                f"the field {self._name[:80]!r} is longer than {LONGEST_FIELD} bytes",
                rule="only the file is long",
                fix="send the rows as the part `file`, with a filename",
                param=self._name[:80],
            )

    def on_part_end(self) -> None:
        """The part is whole."""
        if not self._is_file:
            self.upload.fields[self._name] = self._value.decode("utf-8", "replace")

    def on_end(self) -> None:
        """The body is whole."""
        self.upload.whole = True


async def receive(content_type: str, body: AsyncIterator[bytes], target: Path) -> Upload:
    """Write the file of a multipart body to ``target``.

    Raises:
        JobError: not multipart, cut short, no file, or more than an upload has. StorageError: no room.
    """
    kind, options = parse_options_header(content_type)
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise JobError(
            "the body is not an upload",
            rule="a file is sent as multipart/form-data with the parts purpose and file",
            fix="for example: curl -F purpose=fine-tune -F file=@rows.jsonl …/v1/files",
            param="file",
        )
    form = _Form()
    callbacks: MultipartCallbacks = {
        "on_part_begin": form.on_part_begin,
        "on_part_data": form.on_part_data,
        "on_part_end": form.on_part_end,
        "on_header_field": form.on_header_field,
        "on_header_value": form.on_header_value,
        "on_header_end": form.on_header_end,
        "on_headers_finished": form.on_headers_finished,
        "on_end": form.on_end,
    }
    await asyncio.to_thread(store.append_bytes, target, b"")
    try:
        parser = MultipartParser(options[b"boundary"], callbacks)
        async for piece in body:
            parser.write(piece)
            if len(form.pending) >= PIECE:
                await _write(form, target)
        parser.finalize()
    except FormParserError as error:
        raise _cut_short(str(error)) from error
    await _write(form, target)
    if not form.upload.whole:
        raise _cut_short("its closing boundary is missing")
    if not form.upload.has_file:
        raise JobError(
            "no file came in",
            rule="an upload has a part `file` with a filename",
            fix="send the rows as that part",
            param="file",
            code="missing_required_parameter",
        )
    return form.upload


async def _write(form: _Form, target: Path) -> None:
    data, form.pending = bytes(form.pending), bytearray()
    await asyncio.to_thread(store.append_bytes, target, data)


def _cut_short(why: str) -> JobError:
    return JobError(
        f"the upload cannot be read: {why}",
        rule="the body is whole multipart/form-data",
        fix="send it again with a library instead of by hand",
        param="file",
    )
