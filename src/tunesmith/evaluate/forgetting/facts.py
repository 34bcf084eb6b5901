"""Facts of general knowledge in English and Dutch: a question with a gap, and what goes into it with its answer.

The wrong answers of a question are the right ones of others of its kind, so every answer is plausible by its form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tunesmith.evaluate.forgetting.items import Item, Language, chosen, drawing

PER_LANGUAGE = 60


@dataclass(frozen=True)
class Relation:
    """One kind of fact: language → question with ``{}``, and "thing=answer" pairs divided by ``;``."""

    questions: Mapping[Language, str]
    facts: Mapping[Language, str]

    def pairs(self, language: Language) -> list[tuple[str, str]]:
        """(thing, answer) of each fact, in order."""
        found = (fact.strip().partition("=") for fact in self.facts[language].split(";"))
        return [(thing, answer) for thing, _, answer in found]


RELATIONS = (
    Relation(
        {"en": "What is the capital of {}?", "nl": "Wat is de hoofdstad van {}?"},
        {
            "en": "France=Paris; Germany=Berlin; Italy=Rome; Spain=Madrid; Japan=Tokyo; Greece=Athens; Norway=Oslo; "
            "Egypt=Cairo; Russia=Moscow; Portugal=Lisbon; Poland=Warsaw; Austria=Vienna",
            "nl": "Frankrijk=Parijs; Duitsland=Berlijn; Italië=Rome; Spanje=Madrid; Japan=Tokio; Griekenland=Athene; "
            "Noorwegen=Oslo; Egypte=Caïro; Rusland=Moskou; Portugal=Lissabon; Polen=Warschau; Oostenrijk=Wenen",
        },
    ),
    Relation(
        {"en": "What is the opposite of “{}”?", "nl": "Wat is het tegenovergestelde van “{}”?"},
        {
            "en": "hot=cold; big=small; fast=slow; old=young; day=night; open=shut; wet=dry; strong=weak; early=late; "
            "full=empty",
            "nl": "warm=koud; groot=klein; snel=langzaam; oud=jong; dag=nacht; open=dicht; nat=droog; sterk=zwak; "
            "vroeg=laat; vol=leeg",
        },
    ),
    Relation(
        {"en": "What does a {} do for a living?", "nl": "Wat doet een {} voor de kost?"},
        {
            "en": "baker=bakes bread; teacher=gives lessons; farmer=grows crops; dentist=treats teeth; tailor=makes "
            "clothes; pilot=flies aircraft; plumber=repairs pipes; lawyer=gives legal advice",
            "nl": "bakker=bakt brood; leraar=geeft les; boer=verbouwt gewassen; tandarts=behandelt gebitten; "
            "kleermaker=maakt kleren; piloot=bestuurt vliegtuigen; loodgieter=repareert leidingen; "
            "advocaat=geeft juridisch advies",
        },
    ),
    Relation(
        {"en": "Which animal gives us {}?", "nl": "Welk dier geeft ons {}?"},
        {
            "en": "honey=the bee; eggs=the hen; wool=the sheep; silk=the silkworm; milk for most cheese=the cow; "
            "pearls=the oyster",
            "nl": "honing=de bij; eieren=de kip; wol=het schaap; zijde=de zijderups; melk voor de meeste kaas=de koe; "
            "parels=de oester",
        },
    ),
    Relation(
        {"en": "Which organ {}?", "nl": "Welk orgaan {}?"},
        {
            "en": "pumps blood=the heart; takes in air=the lungs; sees light=the eye; hears sound=the ear; "
            "digests food first=the stomach; thinks=the brain; filters the blood into urine=the kidneys",
            "nl": "pompt het bloed rond=het hart; neemt lucht op=de longen; ziet licht=het oog; hoort geluid=het oor; "
            "verteert als eerste het eten=de maag; denkt=de hersenen; filtert bloed tot urine=de nieren",
        },
    ),
    Relation(
        {"en": "On which continent lies {}?", "nl": "In welk werelddeel ligt {}?"},
        {
            "en": "Brazil=South America; Kenya=Africa; China=Asia; Sweden=Europe; Canada=North America; Peru=South "
            "America; India=Asia; Nigeria=Africa",
            "nl": "Brazilië=Zuid-Amerika; Kenia=Afrika; China=Azië; Zweden=Europa; Canada=Noord-Amerika; Peru=Zuid-"
            "Amerika; India=Azië; Nigeria=Afrika",
        },
    ),
    Relation(
        {"en": "Which substance has the chemical formula or symbol {}?", "nl": "Welke stof heeft de formule {}?"},
        {
            "en": "H2O=water; O2=oxygen; Fe=iron; Au=gold; NaCl=table salt; CO2=carbon dioxide; Ag=silver; Cu=copper",
            "nl": "H2O=water; O2=zuurstof; Fe=ijzer; Au=goud; NaCl=keukenzout; CO2=koolstofdioxide; Ag=zilver; "
            "Cu=koper",
        },
    ),
    Relation(
        {"en": "What do you measure with a {}?", "nl": "Wat meet je met een {}?"},
        {
            "en": "thermometer=temperature; clock=time; ruler=length; scale=weight; compass=direction; barometer=air "
            "pressure; speedometer=speed",
            "nl": "thermometer=temperatuur; klok=tijd; liniaal=lengte; weegschaal=gewicht; kompas=richting; "
            "barometer=luchtdruk; snelheidsmeter=snelheid",
        },
    ),
    Relation(
        {"en": "Which month comes right after {}?", "nl": "Welke maand komt direct na {}?"},
        {
            "en": "January=February; March=April; May=June; July=August; September=October; November=December",
            "nl": "januari=februari; maart=april; mei=juni; juli=augustus; september=oktober; november=december",
        },
    ),
    Relation(
        {"en": "What is a young {} called?", "nl": "Hoe heet het jong van een {}?"},
        {
            "en": "dog=puppy; cat=kitten; cow=calf; sheep=lamb; horse=foal; hen=chick; goat=kid",
            "nl": "hond=pup; kat=kitten; koe=kalf; schaap=lam; paard=veulen; kip=kuiken; varken=big",
        },
    ),
)


def knowledge(language: Language) -> list[Item]:
    """The questions about general knowledge, dealt out over the relations in turn."""
    draw = drawing("knowledge", language)
    queues = [relation.pairs(language) for relation in RELATIONS]
    for queue in queues:
        draw.shuffle(queue)
    items: list[Item] = []
    while len(items) < PER_LANGUAGE:
        for relation, queue in zip(RELATIONS, queues, strict=True):
            if not queue or len(items) == PER_LANGUAGE:
                continue
            thing, answer = queue.pop()
            others = sorted({other for _, other in relation.pairs(language)} - {answer})
            question = relation.questions[language].format(thing)
            items.append(chosen("knowledge", language, len(items), question, answer, draw.sample(others, 3), draw))
    return items
