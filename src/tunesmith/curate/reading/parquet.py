"""Rows of a Parquet file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from tunesmith.curate.reading.place import Place

if TYPE_CHECKING:
    from tunesmith.curate.reading.lines import OpenFile, RawRow

ROWS_AT_A_TIME = 512


def parquet_rows(file: OpenFile) -> Iterator[RawRow]:
    """Rows of a Parquet file, numbered from 1. Missing values are None, nested values are lists and mappings."""
    import pyarrow
    import pyarrow.parquet

    place, number = Place(file.name), 0
    try:
        table = pyarrow.parquet.ParquetFile(file.stream)
        names = [name for name in table.schema_arrow.names if not file.wanted or name in file.wanted]
        for batch in table.iter_batches(batch_size=ROWS_AT_A_TIME, columns=names):
            for row in batch.to_pylist():
                number += 1
                yield Place(file.name, number), row
            if file.progress:
                file.progress(int(file.size * number / max(1, table.metadata.num_rows)), file.size)
    except (pyarrow.ArrowException, OSError, UnicodeDecodeError) as error:
        raise place.error(
            f"is not a readable Parquet file: {str(error).splitlines()[0]}",
            code="invalid-parquet",
            rule="a Parquet file begins and ends with PAR1 and holds text as UTF-8",
            fix="write or download it again",
        ) from error
