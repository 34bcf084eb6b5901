"""What the configuration says about personal data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, field_validator

from tunesmith.core.errors import ConfigError
from tunesmith.core.records import Record
from tunesmith.core.registry import nearest
from tunesmith.curate.personal.found import GROUPS, KINDS

KEY_VARIABLE = "TUNESMITH_PSEUDONYM_KEY"
"""Environment variable with the key of pseudonyms."""

ACTIONS = ("block", "mask", "pseudonym", "keep")
OTHERS = "others"
"""The key of a policy for every class that has none of its own."""


class PersonalOptions(Record):
    """Personal data: what happens to each class, and what looks for names."""

    policies: Mapping[str, str] = Field(
        default={},
        description="Class or kind → block (the row leaves the data), mask ([EMAIL]), pseudonym (PHONE_…, from a key) "
        'or "keep: the reason". others stands for the rest; without a policy a class is masked.',
    )
    dictionary: str = Field(default="", description="Text file with names to find, such as customers', one a line.")
    ner_model: str = Field(
        default="", description="Local folder of a token-classification model that finds names; empty: none."
    )
    engines: tuple[Literal["euredact"], ...] = Field(
        default=(), description="Packages that look beside our own rules; each has to be installed."
    )
    key_file: str = Field(
        default="", description=f"File with the key of pseudonyms; else it comes from the variable {KEY_VARIABLE}."
    )
    least_confidence: float = Field(
        default=0.5, ge=0.0, le=1.0, description="Leave out what is less sure than this, from 0 to 1."
    )

    @field_validator("policies")
    @classmethod
    def _know_classes_and_actions(cls, policies: Mapping[str, str]) -> Mapping[str, str]:
        names = (*GROUPS, *KINDS, OTHERS)
        for name, policy in policies.items():
            if name not in names:
                near = nearest(name, names)
                raise ConfigError(
                    f"there is no class of personal data {name!r}",
                    where="checks.personal.policies",
                    rule=f"the classes are {', '.join(GROUPS)}, {OTHERS}; kinds of national_id have names such as bsn",
                    fix=f"did you mean {near[0]!r}?" if near else "use one of these",
                )
            action, _, reason = policy.partition(":")
            if action not in ACTIONS or (action == "keep") != bool(reason.strip()):
                raise ConfigError(
                    f"the policy {policy!r} of {name} is not understood",
                    where="checks.personal.policies",
                    rule=f"a policy is {', '.join(ACTIONS[:3])}, or keep with its reason",
                    fix='for example {email: mask, bsn: block, ip: "keep: addresses of our own machines"}',
                )
        return policies


def action_of(kind: str, policies: Mapping[str, str]) -> str:
    """What happens to a kind: its own policy, that of its class, that of the others, or mask."""
    for name in (kind, KINDS[kind].group, OTHERS):
        if name in policies:
            return policies[name].partition(":")[0]
    return "mask"


def reason_of(kind: str, policies: Mapping[str, str]) -> str:
    """Why a kind is kept; empty for every other policy."""
    for name in (kind, KINDS[kind].group, OTHERS):
        if name in policies:
            return policies[name].partition(":")[2].strip()
    return ""
