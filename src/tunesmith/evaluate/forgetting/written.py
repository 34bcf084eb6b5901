"""Instructions whose answers are generated, and the rules that check them without a judge."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence

from tunesmith.evaluate.forgetting.instructions import NOUNS
from tunesmith.evaluate.forgetting.items import Language, Task, drawing

Rule = Callable[[str, Sequence[str]], bool]

_FORMS: Mapping[Language, Sequence[tuple[str, str]]] = {
    "en": (
        ("exactly", "Answer with this one word and nothing else: {0}"),
        ("capitals", "Write one short sentence about a {0}. Use capital letters only."),
        ("contains", "Write one sentence in which the words “{0}” and “{1}” occur."),
        ("lines", "Name three things that you can see in a {2}. Put each on a line of its own, without numbers."),
        ("no_commas", "Write one sentence about a {0} without any comma."),
        ("words", "Write exactly four words about a {0}."),
        ("json", "Return a JSON object with the keys “{0}” and “{1}” and a number as the value of each. Only JSON."),
        ("ends", "Write one sentence about a {0} and end it with an exclamation mark."),
        ("listed", "Write the numbers from 1 to {3} with commas between them, and nothing else."),
        ("short", "Explain in at most fifteen words what a {0} is."),
    ),
    "nl": (
        ("exactly", "Antwoord met dit ene woord en niets anders: {0}"),
        ("capitals", "Schrijf één korte zin over het woord “{0}”. Gebruik alleen hoofdletters."),
        ("contains", "Schrijf één zin waarin de woorden “{0}” en “{1}” voorkomen."),
        ("lines", "Noem drie dingen die je in een {2} ziet. Zet elk op een eigen regel, zonder nummers."),
        ("no_commas", "Schrijf één zin over het woord “{0}” zonder komma."),
        ("words", "Schrijf precies vier woorden over “{0}”."),
        ("json", "Geef een JSON-object met de sleutels “{0}” en “{1}” en een getal als waarde. Alleen JSON."),
        ("ends", "Schrijf één zin over het woord “{0}” en eindig met een uitroepteken."),
        ("listed", "Schrijf de getallen van 1 tot en met {3} met komma's ertussen, en niets anders."),
        ("short", "Leg in hooguit vijftien woorden uit wat het woord “{0}” betekent."),
    ),
}

_PLACES: Mapping[Language, Sequence[str]] = {
    "en": ("kitchen", "school", "garden", "station"),
    "nl": ("keuken", "school", "tuin", "station"),
}


def written(language: Language) -> list[Task]:
    """Forty instructions: each of ten rules with four fillings."""
    draw = drawing("written", language)
    tasks = []
    for number in range(40):
        rule, form = _FORMS[language][number % 10]
        first, second = draw.sample(NOUNS[language], 2)
        place, last = _PLACES[language][number // 10], str(draw.randint(5, 9))
        wanted = {
            "exactly": (first,),
            "contains": (first, second),
            "json": (first, second),
            "listed": (", ".join(str(i + 1) for i in range(int(last))),),
        }.get(rule, ())
        tasks.append(
            Task(
                id=f"written-{language}-{number:02d}",
                language=language,
                question=form.format(first, second, place, last),
                rule=rule,
                wanted=wanted,
            )
        )
    return tasks


def follows(task: Task, answer: str) -> bool:
    """Whether an answer keeps to the rule of its task; an empty answer keeps to none."""
    text = answer.strip()
    return bool(text) and RULES[task.rule](text, task.wanted)


def _words(text: str) -> list[str]:
    return re.findall(r"[^\W_]+(?:['’-][^\W_]+)*", text)


def _one_sentence(text: str) -> bool:
    return len(_words(text)) >= 3 and "\n" not in text and len(re.findall(r"[.!?](?:\s|$)", text)) <= 1


def _is_json(text: str, wanted: Sequence[str]) -> bool:
    try:
        value = json.loads(re.sub(r"^```(?:json)?\s*|\s*```$", "", text))
    except ValueError:
        return False
    numbers = (int, float)
    return (
        isinstance(value, dict)
        and set(value) == set(wanted)
        and all(isinstance(v, numbers) and not isinstance(v, bool) for v in value.values())
    )


def _lines(text: str, _wanted: Sequence[str]) -> bool:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return len(lines) == 3 and not any(re.match(r"\d", line) for line in lines)


RULES: Mapping[str, Rule] = {
    "exactly": lambda text, wanted: text.strip(" .\"'“”").casefold() == wanted[0].casefold(),
    "capitals": lambda text, _: text == text.upper() and len(_words(text)) >= 3,
    "contains": lambda text, wanted: _one_sentence(text) and {w.casefold() for w in _words(text)} >= set(wanted),
    "lines": _lines,
    "no_commas": lambda text, _: _one_sentence(text) and "," not in text,
    "words": lambda text, _: len(_words(text)) == 4,
    "json": _is_json,
    "ends": lambda text, _: _one_sentence(text) and text.endswith("!"),
    "listed": lambda text, wanted: re.sub(r"\s", "", text.rstrip(".")) == re.sub(r"\s", "", wanted[0]),
    "short": lambda text, _: 3 <= len(_words(text)) <= 15,
}
"""Name of a rule → whether an answer keeps to it."""
