"""English and German captions for drawn scenes: a lexicon with every form written out, and a small grammar.

Captions are lower-cased and tokenised, as the Multi30K text is. English nouns of :data:`AMBIGUOUS` have two
senses with different German words, often of different gender: the English caption does not tell which one is
meant, only the picture does.
"""

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


PLAIN: tuple[Noun, ...] = (
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
)

# Each pair shares its English word; the two senses are drawn differently and are equally likely.
AMBIGUOUS: tuple[tuple[Noun, Noun], ...] = (
    (
        Noun("bat_animal", "bat", "bats", "f", "fledermaus", "fledermäuse", "fledermäusen"),
        Noun("bat_club", "bat", "bats", "m", "schläger", "schläger", "schlägern"),
    ),
    (
        Noun("crane_machine", "crane", "cranes", "m", "kran", "kräne", "kränen"),
        Noun("crane_bird", "crane", "cranes", "m", "kranich", "kraniche", "kranichen"),
    ),
    (
        Noun("palm_tree", "palm", "palms", "f", "palme", "palmen", "palmen"),
        Noun("palm_hand", "palm", "palms", "f", "handfläche", "handflächen", "handflächen"),
    ),
    (
        Noun("seal_animal", "seal", "seals", "f", "robbe", "robben", "robben"),
        Noun("seal_wax", "seal", "seals", "n", "siegel", "siegel", "siegeln"),
    ),
    (
        Noun("pipe_tube", "pipe", "pipes", "n", "rohr", "rohre", "rohren"),
        Noun("pipe_tobacco", "pipe", "pipes", "f", "pfeife", "pfeifen", "pfeifen"),
    ),
    (
        Noun("key_lock", "key", "keys", "m", "schlüssel", "schlüssel", "schlüsseln"),
        Noun("key_board", "key", "keys", "f", "taste", "tasten", "tasten"),
    ),
    (
        Noun("letter_mail", "letter", "letters", "m", "brief", "briefe", "briefen"),
        Noun("letter_type", "letter", "letters", "m", "buchstabe", "buchstaben", "buchstaben", "buchstaben"),
    ),
    (
        Noun("bow_ribbon", "bow", "bows", "f", "schleife", "schleifen", "schleifen"),
        Noun("bow_weapon", "bow", "bows", "m", "bogen", "bögen", "bögen"),
    ),
)

NOUNS: dict[str, Noun] = {noun.kind: noun for noun in PLAIN + tuple(n for pair in AMBIGUOUS for n in pair)}

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
SIZES = {"small": "klein", "medium": "", "big": "groß"}  # medium goes unsaid

NUMERALS = {2: ("two", "zwei"), 3: ("three", "drei"), 4: ("four", "vier")}

ARTICLES = {  # case -> gender (or "p", plural) -> form
    "indefinite": {
        NOMINATIVE: {"m": "ein", "f": "eine", "n": "ein"},
        ACCUSATIVE: {"m": "einen", "f": "eine", "n": "ein"},
        DATIVE: {"m": "einem", "f": "einer", "n": "einem"},
    },
    "definite": {
        NOMINATIVE: {"m": "der", "f": "die", "n": "das", "p": "die"},
        ACCUSATIVE: {"m": "den", "f": "die", "n": "das", "p": "die"},
        DATIVE: {"m": "dem", "f": "der", "n": "dem", "p": "den"},
    },
}

ENDINGS = {  # adjective endings; an indefinite plural is a bare numeral, so its adjectives are strong
    "indefinite": {
        NOMINATIVE: {"m": "er", "f": "e", "n": "es", "p": "e"},
        ACCUSATIVE: {"m": "en", "f": "e", "n": "es", "p": "e"},
        DATIVE: {"m": "en", "f": "en", "n": "en", "p": "en"},
    },
    "definite": {
        NOMINATIVE: {"m": "e", "f": "e", "n": "e", "p": "en"},
        ACCUSATIVE: {"m": "en", "f": "e", "n": "e", "p": "en"},
        DATIVE: {"m": "en", "f": "en", "n": "en", "p": "en"},
    },
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


def english_phrase(group: Group, definite: bool = False) -> str:
    """E.g. ``a small red ball``, ``the two blue cars``."""
    noun = NOUNS[group.kind]
    words = [] if group.size == "medium" else [group.size]
    words += [group.colour, noun.english if group.count == 1 else noun.english_plural]
    if group.count > 1:
        words.insert(0, NUMERALS[group.count][0])
    if definite:
        words.insert(0, "the")
    elif group.count == 1:
        words.insert(0, "a")  # every size and colour begins with a consonant
    return " ".join(words)


def german_phrase(group: Group, case: str, definite: bool = False) -> str:
    """E.g. ``einen kleinen roten ball`` (accusative), ``den zwei blauen autos`` (dative, definite)."""
    noun = NOUNS[group.kind]
    kind_of_article = "definite" if definite else "indefinite"
    gender = noun.gender if group.count == 1 else "p"
    ending = ENDINGS[kind_of_article][case][gender]
    stems = [stem for stem in (SIZES[group.size], COLOURS[group.colour]) if stem]
    words = [stem + ending for stem in stems]
    if group.count > 1:
        words.insert(0, NUMERALS[group.count][1])
    if definite or group.count == 1:
        words.insert(0, ARTICLES[kind_of_article][case][gender])
    return " ".join(words + [_german_noun(noun, case, group.count)])


def _german_noun(noun: Noun, case: str, count: int) -> str:
    if count > 1:
        return noun.german_plural_dative if case == DATIVE else noun.german_plural
    return noun.german_oblique if case != NOMINATIVE and noun.german_oblique else noun.german


# Ways to say a scene: one group and its place, two groups and their relation, or two groups only.
PLACED_TEMPLATES = ("placed", "shows", "is_placed", "without")
RELATED_TEMPLATES = ("related", "shows_related", "is_related")
PAIRED_TEMPLATES = ("with_both", "both")


def placed_caption(template: str, group: Group, place: str, background: str, absent: str) -> tuple[str, str]:
    """English and German sentence for one group; *absent* is the kind that template ``without`` names."""
    scenery, (where, wo) = BACKGROUNDS[background], PLACES[place]
    if template == "placed":
        english = f"{english_phrase(group)} {where} {scenery.english}"
        german = f"{german_phrase(group, NOMINATIVE)} {wo} {scenery.german}"
    elif template == "shows":
        english = f"the picture shows {english_phrase(group)} {where} {scenery.english}"
        german = f"das bild zeigt {german_phrase(group, ACCUSATIVE)} {wo} {scenery.german}"
    elif template == "is_placed":
        is_, ist = _is(group)
        english = f"{english_phrase(group, definite=True)} {is_} {where} {scenery.english}"
        german = f"{german_phrase(group, NOMINATIVE, definite=True)} {ist} {wo} {scenery.german}"
    else:
        noun = NOUNS[absent]
        article = ARTICLES["indefinite"][ACCUSATIVE][noun.gender]
        english = (
            f"{scenery.english_phrase} with {english_phrase(group)} {where} , but without a {noun.english}"
        )
        german = (
            f"{scenery.german_phrase} mit {german_phrase(group, DATIVE)} {wo} , "
            f"aber ohne {article} {_german_noun(noun, ACCUSATIVE, 1)}"
        )
    return english + " .", german + " ."


def related_caption(
    template: str, first: Group, second: Group, relation: str, background: str
) -> tuple[str, str]:
    """English and German sentence for two groups, *relation* being the first one's to the second."""
    scenery, (where, wo) = BACKGROUNDS[background], RELATIONS[relation]
    if template == "related":
        english = f"{english_phrase(first)} {where} {english_phrase(second)} {scenery.english}"
        german = f"{german_phrase(first, NOMINATIVE)} {wo} {german_phrase(second, DATIVE)} {scenery.german}"
    elif template == "shows_related":
        english = f"you can see {english_phrase(first)} {where} {english_phrase(second)} {scenery.english}"
        german = (
            f"man sieht {german_phrase(first, ACCUSATIVE)} {wo} {german_phrase(second, DATIVE)} "
            f"{scenery.german}"
        )
    else:
        is_, ist = _is(first)
        english = (
            f"{english_phrase(first, definite=True)} {is_} {where} {english_phrase(second, definite=True)}"
        )
        german = (
            f"{german_phrase(first, NOMINATIVE, definite=True)} {ist} {wo} "
            f"{german_phrase(second, DATIVE, definite=True)}"
        )
    return english + " .", german + " ."


def paired_caption(template: str, first: Group, second: Group, background: str) -> tuple[str, str]:
    """English and German sentence that names two groups and nothing of where they stand."""
    scenery = BACKGROUNDS[background]
    if template == "with_both":
        english = f"{scenery.english_phrase} with {english_phrase(first)} and {english_phrase(second)}"
        german = (
            f"{scenery.german_phrase} mit {german_phrase(first, DATIVE)} und {german_phrase(second, DATIVE)}"
        )
    else:
        english = f"{english_phrase(first)} and {english_phrase(second)} {scenery.english}"
        german = (
            f"{german_phrase(first, NOMINATIVE)} und {german_phrase(second, NOMINATIVE)} {scenery.german}"
        )
    return english + " .", german + " ."


def _is(group: Group) -> tuple[str, str]:
    return ("is", "ist") if group.count == 1 else ("are", "sind")
