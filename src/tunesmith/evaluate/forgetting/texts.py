"""Neutral texts and questions, far from anybody's trade: on them a tuned model should speak as its base does."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from tunesmith.core.records import Document, Example, Message, Prompt
from tunesmith.evaluate.forgetting.items import LANGUAGES, Language

TEXTS: Mapping[Language, Sequence[str]] = {
    "en": (
        "The path along the canal was empty that morning. A heron stood in the shallow water and did not move when we "
        "passed. Further on, a man was painting his boat green, and he nodded without looking up.",
        "Bread needs little more than flour, water, salt and time. The dough is kneaded until it no longer sticks to "
        "the hands, and then it rests. In a warm kitchen it doubles in about an hour.",
        "When the lights went out, everybody in the hall began to talk at once. Somebody found a candle in a drawer. "
        "By the time the power came back, most of the guests had already gone home.",
        "Swallows build their nests under the roofs of barns. They return to the same place every spring, often within "
        "a few days of the year before. Both parents feed the young.",
        "My grandmother kept her letters in a tin box. Most of them were written by her sister, who had moved to "
        "another country as a young woman. They had described the weather to each other for fifty years.",
        "A bicycle stays upright because the rider steers into every fall. The faster it goes, the smaller these "
        "corrections are. A child learns this without being able to say what it has learned.",
        "The old bridge was closed for repairs in autumn. Traffic had to take the longer road around the lake, and the "
        "village became so quiet that one could hear the clock of the church from the harbour.",
        "Tea should be made with water that has just boiled. Green tea is an exception, because it turns bitter in "
        "water that is too hot. Three minutes are enough for most kinds.",
        "On the second day of the hike it began to snow. We could see no further than the next marker, so we walked "
        "from one to the next and counted them aloud. The hut appeared suddenly, as if somebody had put it there.",
        "Glass is made by melting sand together with ash and chalk. While it is hot it can be blown like a bubble. "
        "When it cools down too quickly, it cracks.",
        "The library opens at nine, but the students are there earlier. They sit on the steps with their coffee and "
        "read what they should have read the week before. At nine the doors open, and the steps are empty.",
        "Most rivers begin as a spring in the hills. On their way to the sea other streams join them, and they become "
        "wide and slow. Where they end, they leave the sand that they have carried.",
        "He had learned to play the violin from his father, who had learned it from nobody. Neither of them could read "
        "music. When they played together at weddings, people forgot to eat.",
        "A clock with a pendulum goes slower in summer than in winter. Metal grows a little longer when it is warm, "
        "and a longer pendulum takes more time for each swing.",
        "The market was already busy when the rain came. The sellers pulled plastic sheets over their goods and went "
        "on shouting their prices. Only the man with the flowers looked pleased.",
    ),
    "nl": (
        "Het pad langs het kanaal was die ochtend leeg. Een reiger stond in het ondiepe water en bewoog niet toen we "
        "voorbijkwamen. Verderop schilderde een man zijn boot groen, en hij knikte zonder op te kijken.",
        "Brood heeft weinig meer nodig dan meel, water, zout en tijd. Het deeg wordt gekneed tot het niet meer aan de "
        "handen plakt, en dan rust het. In een warme keuken verdubbelt het in ongeveer een uur.",
        "Toen het licht uitviel, begon iedereen in de zaal tegelijk te praten. Iemand vond een kaars in een la. Tegen "
        "de tijd dat de stroom terugkwam, waren de meeste gasten al naar huis.",
        "Zwaluwen bouwen hun nesten onder de daken van schuren. Ze keren elk voorjaar terug naar dezelfde plek, vaak "
        "binnen een paar dagen van het jaar ervoor. Beide ouders voeren de jongen.",
        "Mijn oma bewaarde haar brieven in een blikken doos. De meeste waren geschreven door haar zus, die als jonge "
        "vrouw naar een ander land was verhuisd. Vijftig jaar lang hadden ze elkaar het weer beschreven.",
        "Een fiets blijft overeind omdat de fietser in elke val stuurt. Hoe harder hij gaat, hoe kleiner die "
        "correcties zijn. Een kind leert dit zonder te kunnen zeggen wat het geleerd heeft.",
        "De oude brug was in de herfst dicht voor herstel. Het verkeer moest de langere weg om het meer nemen, en het "
        "dorp werd zo stil dat je de klok van de kerk bij de haven kon horen.",
        "Thee zet je met water dat net gekookt heeft. Groene thee is een uitzondering, want die wordt bitter in water "
        "dat te heet is. Drie minuten is genoeg voor de meeste soorten.",
        "Op de tweede dag van de tocht begon het te sneeuwen. We zagen niet verder dan het volgende paaltje, dus "
        "liepen we van het ene naar het andere en telden hardop. De hut stond er ineens, alsof iemand hem daar "
        "had neergezet.",
        "Glas wordt gemaakt door zand te smelten met as en kalk. Zolang het heet is, kan het als een bel worden "
        "geblazen. Als het te snel afkoelt, barst het.",
        "De bibliotheek gaat om negen uur open, maar de studenten zijn er eerder. Ze zitten met hun koffie op de trap "
        "en lezen wat ze vorige week hadden moeten lezen. Om negen uur gaan de deuren open, en is de trap leeg.",
        "De meeste rivieren beginnen als een bron in de heuvels. Op weg naar zee komen er andere beken bij, en worden "
        "ze breed en traag. Waar ze eindigen, laten ze het zand achter dat ze hebben meegenomen.",
        "Hij had viool leren spelen van zijn vader, die het van niemand had geleerd. Geen van beiden kon noten lezen. "
        "Als ze samen op bruiloften speelden, vergaten de mensen te eten.",
        "Een klok met een slinger loopt in de zomer langzamer dan in de winter. Metaal wordt een beetje langer als het "
        "warm is, en een langere slinger doet langer over elke zwaai.",
        "De markt was al druk toen de regen kwam. De verkopers trokken plastic over hun waren en bleven hun prijzen "
        "roepen. Alleen de man met de bloemen keek tevreden.",
    ),
}

QUESTIONS: Mapping[Language, Sequence[str]] = {
    "en": (
        "Tell me something about the sea.",
        "What should I bring on a walk in the mountains?",
        "Why do people keep cats?",
        "Describe a quiet street in the evening.",
        "How do I write a letter to an old friend?",
        "What makes a good chair?",
        "Give me an idea for a rainy afternoon.",
        "What is the difference between a lake and a pond?",
        "How does a candle burn?",
        "Write two sentences about autumn.",
        "What can one cook with potatoes?",
        "Why is it hard to get up early?",
    ),
    "nl": (
        "Vertel me iets over de zee.",
        "Wat neem ik mee op een wandeling in de bergen?",
        "Waarom houden mensen katten?",
        "Beschrijf een stille straat in de avond.",
        "Hoe schrijf ik een brief aan een oude vriend?",
        "Wat maakt een stoel goed?",
        "Geef me een idee voor een regenachtige middag.",
        "Wat is het verschil tussen een meer en een vijver?",
        "Hoe brandt een kaars?",
        "Schrijf twee zinnen over de herfst.",
        "Wat kun je koken met aardappelen?",
        "Waarom is vroeg opstaan moeilijk?",
    ),
}


def neutral_texts() -> list[tuple[Language, Example]]:
    """Every text as a plain text to be scored, with its language."""
    return [(language, plain(text)) for language in LANGUAGES for text in TEXTS[language]]


def neutral_prompts() -> list[Prompt]:
    """Every question as a prompt."""
    return [
        Prompt(messages=(Message(role="user", content=text),)) for language in LANGUAGES for text in QUESTIONS[language]
    ]


def plain(text: str) -> Example:
    """A plain text, all of which is scored."""
    return Example(messages=(), target=Document(text=text))
