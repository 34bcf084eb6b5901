"""Options of the checks: one small record for each check that has any."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

from tunesmith.core.records import Record
from tunesmith.curate.checks.conflicts import ConflictOptions
from tunesmith.curate.checks.diversity import DiversityOptions, ProductionOptions
from tunesmith.curate.checks.duplicates import NearOptions
from tunesmith.curate.checks.faithful import FaithfulOptions
from tunesmith.curate.checks.form import FormOptions
from tunesmith.curate.checks.labels import LabelOptions
from tunesmith.curate.checks.overlap import OverlapOptions
from tunesmith.curate.checks.semantic import SemanticOptions
from tunesmith.curate.checks.style import StyleOptions
from tunesmith.curate.checks.synthetic import SyntheticOptions
from tunesmith.curate.personal.options import PersonalOptions


class Checks(Record):
    """What the checks look for, under the name of each check."""

    personal: PersonalOptions = Field(default=PersonalOptions(), description="Personal data: policies and engines.")
    diversity: DiversityOptions = Field(default=DiversityOptions(), description="How varied the rows are.")
    like_production: ProductionOptions = Field(
        default=ProductionOptions(), description="Whether the rows look like what is asked in production."
    )
    near_duplicates: NearOptions = Field(default=NearOptions(), description="Rows that are nearly the same.")
    overlap: OverlapOptions = Field(
        default=OverlapOptions(), description="Training rows that give away what the model is judged on."
    )
    semantic_duplicates: SemanticOptions = Field(
        default=SemanticOptions(), description="Rows that say about the same in other words."
    )
    conflicts: ConflictOptions = Field(default=ConflictOptions(), description="Contradictory answers to one question.")
    labels: LabelOptions = Field(default=LabelOptions(), description="Labels that are probably wrong.")
    faithful: FaithfulOptions = Field(
        default=FaithfulOptions(), description="Answers against the facts they are given."
    )
    form: FormOptions = Field(default=FormOptions(), description="What every answer must look like.")
    style: StyleOptions = Field(default=StyleOptions(), description="When the style of the answers counts as mixed.")
    synthetic: SyntheticOptions = Field(default=SyntheticOptions(), description="Rows that a model made.")

    def counted_from(self, folder: Path) -> Checks:
        """The same options, with every path counted from a folder."""

        def whole(path: str) -> str:
            return str((folder / Path(path).expanduser()).absolute()) if path else path

        against = tuple(map(whole, self.overlap.against))
        changed = {
            "like_production": {"production": whole(self.like_production.production)},
            "overlap": {"against": against},
            "semantic_duplicates": {"embedder": whole(self.semantic_duplicates.embedder)},
        }
        personal = self.personal
        files = {"dictionary": personal.dictionary, "ner_model": personal.ner_model, "key_file": personal.key_file}
        changed["personal"] = {name: whole(path) for name, path in files.items()}
        if isinstance(self.form.json_schema, str):
            changed["form"] = {"json_schema": whole(self.form.json_schema)}
        return Checks.model_validate(
            {name: {**options, **changed.get(name, {})} for name, options in self.model_dump().items()}
        )
