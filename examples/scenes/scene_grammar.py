"""English and German captions for drawn scenes: a lexicon with every form written out, and a small grammar.

Captions are lower-cased and tokenised, as the Multi30K text is. English nouns of :data:`AMBIGUOUS` have two
senses with different German words, often of different gender: the English caption does not tell which one is
meant, only the picture does.
"""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

NOMINATIVE, ACCUSATIVE, DATIVE = "nominative", "accusative", "dative"


class Noun(NamedTuple):
    """One kind of object: what is drawn (`kind`) and what it is called."""

    kind: str
    english: str
    english_plural: str
    gender: str  # "m", "f" or "n"
    german: str
    german_plural: str
    german_plural_dative: str
    german_oblique: str = ""  # accusative and dative singular, where they differ from the nominative


# The two senses of an ambiguous word stand together. They are drawn differently and are equally likely.
LEXICON = (
    Noun("ball", "ball", "balls", "m", "ball", "bälle", "bällen"),
    Noun("tree", "tree", "trees", "m", "baum", "bäume", "bäumen"),
    Noun("star", "star", "stars", "m", "stern", "sterne", "sternen"),
    Noun("kite", "kite", "kites", "m", "drachen", "drachen", "drachen"),
    Noun("fish", "fish", "fish", "m", "fisch", "fische", "fischen"),
    Noun("cup", "cup", "cups", "f", "tasse", "tassen", "tassen"),
    Noun("flower", "flower", "flowers", "f", "blume", "blumen", "blumen"),
    Noun("lamp", "lamp", "lamps", "f", "lampe", "lampen", "lampen"),
    Noun("house", "house", "houses", "n", "haus", "häuser", "häusern"),
    Noun("car", "car", "cars", "n", "auto", "autos", "autos"),
    Noun("boat", "boat", "boats", "n", "boot", "boote", "booten"),
    Noun("bat_animal", "bat", "bats", "f", "fledermaus", "fledermäuse", "fledermäusen"),
    Noun("bat_club", "bat", "bats", "m", "schläger", "schläger", "schlägern"),
    Noun("crane_machine", "crane", "cranes", "m", "kran", "kräne", "kränen"),
    Noun("crane_bird", "crane", "cranes", "m", "kranich", "kraniche", "kranichen"),
    Noun("palm_tree", "palm", "palms", "f", "palme", "palmen", "palmen"),
    Noun("palm_hand", "palm", "palms", "f", "handfläche", "handflächen", "handflächen"),
    Noun("seal_animal", "seal", "seals", "f", "robbe", "robben", "robben"),
    Noun("seal_wax", "seal", "seals", "n", "siegel", "siegel", "siegeln"),
    Noun("pipe_tube", "pipe", "pipes", "n", "rohr", "rohre", "rohren"),
    Noun("pipe_tobacco", "pipe", "pipes", "f", "pfeife", "pfeifen", "pfeifen"),
    Noun("key_lock", "key", "keys", "m", "schlüssel", "schlüssel", "schlüsseln"),
    Noun("key_board", "key", "keys", "f", "taste", "tasten", "tasten"),
    Noun("letter_mail", "letter", "letters", "m", "brief", "briefe", "briefen"),
    Noun("letter_type", "letter", "letters", "m", "buchstabe", "buchstaben", "buchstaben", "buchstaben"),
    Noun("bow_ribbon", "bow", "bows", "f", "schleife", "schleifen", "schleifen"),
    Noun("bow_weapon", "bow", "bows", "m", "bogen", "bögen", "bögen"),
)
NOUNS: dict[str, Noun] = {noun.kind: noun for noun in LEXICON}
_SENSES = [tuple(senses) for _, senses in groupby(LEXICON, key=lambda noun: noun.english)]
PLAIN: tuple[Noun, ...] = tuple(noun for noun, *others in _SENSES if not others)
AMBIGUOUS: tuple[tuple[Noun, Noun], ...] = tuple(senses for senses in _SENSES if len(senses) == 2)

# English adjective -> German stem; every stem here takes the regular endings.
COLOURS = {
    "red": "rot",
    "blue": "blau",
    "green": "grün",
    "yellow": "gelb",
    "white": "weiß",
    "black": "schwarz",
    "brown": "braun",
    "grey": "grau",
}
SIZES = {"small": ("small", "klein"), "medium": ("", ""), "big": ("big", "groß")}  # medium goes unsaid
NUMERALS = {1: ("", ""), 2: ("two", "zwei"), 3: ("three", "drei"), 4: ("four", "vier")}

# Articles and adjective endings by definiteness and case, each for masculine, feminine, neuter and plural. An
# indefinite plural is a bare numeral, so its adjectives are strong.
GENDERS = "mfnp"
FORMS = {
    (False, NOMINATIVE): (("ein", "eine", "ein", ""), ("er", "e", "es", "e")),
    (False, ACCUSATIVE): (("einen", "eine", "ein", ""), ("en", "e", "es", "e")),
    (False, DATIVE): (("einem", "einer", "einem", ""), ("en", "en", "en", "en")),
    (True, NOMINATIVE): (("der", "die", "das", "die"), ("e", "e", "e", "en")),
    (True, ACCUSATIVE): (("den", "die", "das", "die"), ("en", "e", "e", "en")),
    (True, DATIVE): (("dem", "der", "dem", "den"), ("en", "en", "en", "en")),
}

# Where a group of objects stands, and how two groups stand to each other (German: all with the dative).
PLACES = {
    "left": ("on the left", "links"),
    "right": ("on the right", "rechts"),
    "top": ("at the top", "oben"),
    "bottom": ("at the bottom", "unten"),
    "middle": ("in the middle", "in der mitte"),
}
RELATIONS = {
    "left_of": ("to the left of", "links von"),
    "right_of": ("to the right of", "rechts von"),
    "above": ("above", "über"),
    "below": ("below", "unter"),
    "behind": ("behind", "hinter"),
    "in_front_of": ("in front of", "vor"),
}


class Background(NamedTuple):
    """A background as an adverbial and, for "a meadow with ...", as a nominative phrase."""

    english: str
    german: str
    english_phrase: str
    german_phrase: str


BACKGROUNDS = {
    "grass": Background("in a meadow", "auf einer wiese", "a green meadow", "eine grüne wiese"),
    "sea": Background("at the sea", "am meer", "a calm sea", "ein ruhiges meer"),
    "sky": Background("under a clear sky", "unter einem klaren himmel", "a clear sky", "ein klarer himmel"),
    "night": Background("at night", "bei nacht", "a dark night", "eine dunkle nacht"),
}


class Group(NamedTuple):
    """One to four equal objects."""

    kind: str
    colour: str
    size: str
    count: int


def _joined(*words: str) -> str:
    return " ".join(filter(None, words))


def english_phrase(group: Group, definite: bool = False) -> str:
    """E.g. ``a small red ball``, ``the two blue cars``."""
    noun, one = NOUNS[group.kind], group.count == 1
    article = "the" if definite else "a" if one else ""  # every size and colour begins with a consonant
    name = noun.english if one else noun.english_plural
    return _joined(article, NUMERALS[group.count][0], SIZES[group.size][0], group.colour, name)


def german_phrase(group: Group, case: str, definite: bool = False) -> str:
    """E.g. ``einen kleinen roten ball`` (accusative), ``den zwei blauen autos`` (dative, definite)."""
    noun, one = NOUNS[group.kind], group.count == 1
    gender = GENDERS.index(noun.gender if one else "p")
    article, ending = (forms[gender] for forms in FORMS[definite, case])
    adjectives = [stem and stem + ending for stem in (SIZES[group.size][1], COLOURS[group.colour])]
    return _joined(article, NUMERALS[group.count][1], *adjectives, _german_noun(noun, case, one))


def _german_noun(noun: Noun, case: str, one: bool) -> str:
    if one:
        return noun.german if case == NOMINATIVE else noun.german_oblique or noun.german
    return noun.german_plural_dative if case == DATIVE else noun.german_plural


# Ways to say a scene, in English and German: one group and its place, two groups and their relation, or two
# groups only. A group is said with an indefinite article (English "a", German by case) or a definite one.
PLACED_TEMPLATES = {
    "placed": ("{0[a]} {where} {at} .", "{0[nominative]} {where} {at} ."),
    "shows": ("the picture shows {0[a]} {where} {at} .", "das bild zeigt {0[accusative]} {where} {at} ."),
    "is_placed": ("{0[the]} {0[is]} {where} {at} .", "{0[the_nominative]} {0[is]} {where} {at} ."),
    "without": (
        "{scene} with {0[a]} {where} , but without {absent} .",
        "{scene} mit {0[dative]} {where} , aber ohne {absent} .",
    ),
}
RELATED_TEMPLATES = {
    "related": ("{0[a]} {where} {1[a]} {at} .", "{0[nominative]} {where} {1[dative]} {at} ."),
    "shows_related": (
        "you can see {0[a]} {where} {1[a]} {at} .",
        "man sieht {0[accusative]} {where} {1[dative]} {at} .",
    ),
    "is_related": (
        "{0[the]} {0[is]} {where} {1[the]} .",
        "{0[the_nominative]} {0[is]} {where} {1[the_dative]} .",
    ),
}
PAIRED_TEMPLATES = {
    "with_both": ("{scene} with {0[a]} and {1[a]} .", "{scene} mit {0[dative]} und {1[dative]} ."),
    "both": ("{0[a]} and {1[a]} {at} .", "{0[nominative]} und {1[nominative]} {at} ."),
}
TEMPLATES = PLACED_TEMPLATES | RELATED_TEMPLATES | PAIRED_TEMPLATES


def captions(
    template: str, groups: Sequence[Group], where: str, background: str, absent: str = "ball"
) -> tuple[str, str]:
    """English and German sentence for a scene.

    Args:
        template: a key of :data:`TEMPLATES`.
        groups: one or two, as the template has it.
        where: the place of one group, or the first one's relation to the second.
        background: a key of :data:`BACKGROUNDS`.
        absent: the kind that template ``without`` names.
    """
    english, german = TEMPLATES[template]
    (place, german_place), scenery, noun = (PLACES | RELATIONS)[where], BACKGROUNDS[background], NOUNS[absent]
    article = FORMS[False, ACCUSATIVE][0][GENDERS.index(noun.gender)]
    return (
        english.format(
            *map(_english_forms, groups),
            where=place,
            at=scenery.english,
            scene=scenery.english_phrase,
            absent=f"a {noun.english}",
        ),
        german.format(
            *map(_german_forms, groups),
            where=german_place,
            at=scenery.german,
            scene=scenery.german_phrase,
            absent=f"{article} {_german_noun(noun, ACCUSATIVE, True)}",
        ),
    )


def _english_forms(group: Group) -> dict[str, str]:
    be = "is" if group.count == 1 else "are"
    return {"a": english_phrase(group), "the": english_phrase(group, definite=True), "is": be}


def _german_forms(group: Group) -> dict[str, str]:
    forms = {case: german_phrase(group, case) for case in (NOMINATIVE, ACCUSATIVE, DATIVE)}
    definite = {f"the_{case}": german_phrase(group, case, definite=True) for case in forms}
    return {**forms, **definite, "is": "ist" if group.count == 1 else "sind"}
