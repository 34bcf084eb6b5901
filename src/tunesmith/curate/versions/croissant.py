"""A card as Croissant metadata: JSON-LD that other tools and search engines read.

Source: Croissant Format Specification 1.0 and the RAI vocabulary 1.0 (docs.mlcommons.org/croissant). What a property
asks for and nobody said is left out, and MISSING on the readable page.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from tunesmith.curate.versions.card import DataCard, SourceFacts

CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileProperty": "cr:fileProperty",
    "fileObject": "cr:fileObject",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "parentField": "cr:parentField",
    "path": "cr:path",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
"""The context that the specification prescribes."""

_MEDIA = {
    ".jsonl": "application/jsonlines",
    ".ndjson": "application/jsonlines",
    ".json": "application/json",
    ".csv": "text/csv",
    ".tsv": "text/tab-separated-values",
    ".parquet": "application/x-parquet",
    ".txt": "text/plain",
    ".gz": "application/gzip",
}


def to_croissant(card: DataCard) -> str:
    """The metadata as JSON text."""
    return json.dumps(_dataset(card), indent=2, ensure_ascii=False) + "\n"


def _dataset(card: DataCard) -> dict[str, Any]:
    notes = card.notes
    splits = ", ".join(f"{rows} {name}" for name, rows in card.splits.items())
    owners = sorted({s.provenance.owner for s in card.sources if s.provenance and s.provenance.owner})
    fields = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": ["http://mlcommons.org/croissant/1.0", "http://mlcommons.org/croissant/RAI/1.0"],
        "name": notes.name or _id(card.sources[0].name.partition(".")[0]),
        "description": notes.description or f"{card.rows} rows for fine-tuning ({splits}).",
        "license": _licences(card),
        "creator": [{"@type": "sc:Organization", "name": owner} for owner in owners],
        "url": notes.url,
        "datePublished": notes.published,
        "identifier": card.digest,
        **_responsible(card),
        "distribution": [_file(source) for source in card.sources],
        "recordSet": [_records(source) for source in card.sources],
    }
    return {name: value for name, value in fields.items() if value}


def _licences(card: DataCard) -> list[str]:
    """Licences as their SPDX pages where they are one identifier, else as they stand."""
    said = sorted({s.provenance.licence for s in card.sources if s.provenance and s.provenance.licence})
    plain = re.compile(r"(?!LicenseRef-)[A-Za-z0-9.+-]+")
    return [f"https://spdx.org/licenses/{x}" if plain.fullmatch(x) and x != "contract" else x for x in said]


def _responsible(card: DataCard) -> dict[str, Any]:
    """The RAI properties for which something was said."""
    said = [source.provenance for source in card.sources if source.provenance]
    steps = [f"{step.action} of {step.rows} rows: {step.check}" for source in card.sources for step in source.steps]
    frames = sorted({part for p in said if p.collected for part in p.collected.split("/")})
    return {
        "rai:dataCollection": "; ".join(dict.fromkeys(p.collection_method for p in said if p.collection_method)),
        "rai:dataCollectionTimeFrame": [frames[0], frames[-1]] if frames else [],
        "rai:dataPreprocessingProtocol": steps,
        "rai:personalSensitiveInformation": "; ".join(dict.fromkeys(p.basis for p in said if p.basis)),
        "rai:dataUseCases": card.notes.purpose,
        "rai:dataBiases": card.notes.biases,
        "rai:dataLimitations": card.notes.gaps,
        "rai:dataReleaseMaintenancePlan": "; ".join(
            dict.fromkeys(f"kept until {p.retention}" for p in said if p.retention)
        ),
    }


def _file(source: SourceFacts) -> dict[str, Any]:
    suffix = "." + source.name.rpartition(".")[2].lower()
    return {
        "@type": "cr:FileObject",
        "@id": _id(source.name),
        "name": _id(source.name),
        "description": f"{source.rows} rows, {source.format}",
        "contentUrl": source.name,
        "contentSize": f"{source.size} B",
        "encodingFormat": _MEDIA.get(suffix, "application/octet-stream"),
        "sha256": source.sha256,
    }


def _records(source: SourceFacts) -> dict[str, Any]:
    records = f"{_id(source.name)}-rows"
    return {
        "@type": "cr:RecordSet",
        "@id": records,
        "name": records,
        "description": f"{source.rows} rows" + (f" of the {source.split} split" if source.split else ""),
        "field": [
            {
                "@type": "cr:Field",
                "@id": f"{records}/{_id(column)}",
                "name": f"{records}/{_id(column)}",
                "description": f"column {column}",
                "dataType": "sc:Text",
                "source": {"fileObject": {"@id": _id(source.name)}, "extract": {"column": column}},
            }
            for column in source.columns
        ],
    }


def _id(name: str) -> str:
    """A name that every Croissant reader takes."""
    return re.sub(r"[^A-Za-z0-9_.-]+", "-", name).strip("-") or "data"
