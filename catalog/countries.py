"""Countries as people write them, told as the two letters that providers take."""

from __future__ import annotations

from functools import lru_cache

from babel import Locale

from catalog.search import normalise

# The trade's word for "from anywhere"; no country has these letters.
WORLDWIDE = "WW"
_WORLD = ("worldwide", "world", "all countries", "monde", "monde entier", "dünya", "tüm dünya")
_LANGUAGES = ("en", "fr", "tr")
# Names that the tables do not have.
_ALSO = {
    "usa": "US",
    "united states of america": "US",
    "america": "US",
    "uk": "GB",
    "great britain": "GB",
    "england": "GB",
    "uae": "AE",
    "turkey": "TR",
    "ivory coast": "CI",
    "cote d'ivoire": "CI",
    "russian federation": "RU",
    "korea": "KR",
    "holland": "NL",
    "czech republic": "CZ",
    "drc": "CD",
    "rdc": "CD",
}


def country_code(text: str) -> str | None:
    """The code of a country named by its code, or by its name in English, French or Turkish;
    None for anything else."""
    text = text.strip()
    code = text.upper()
    if code in _names("en") or code == WORLDWIDE:
        return code
    return _codes().get(normalise(text))


def countries(language: str) -> dict[str, str]:
    """Code → name in this language, by name; the whole world first."""
    names = _names(language)
    world = Locale(language).territories["001"]
    return {
        WORLDWIDE: world,
        **dict(sorted(names.items(), key=lambda item: normalise(item[1]))),
    }


@lru_cache(maxsize=8)
def _names(language: str) -> dict[str, str]:
    return {
        code: name
        for code, name in Locale(language).territories.items()
        if len(code) == 2 and code.isalpha() and code not in ("ZZ", "XA", "XB", "EU", "EZ", "UN")
    }


@lru_cache(maxsize=1)
def _codes() -> dict[str, str]:
    codes = {normalise(name): WORLDWIDE for name in _WORLD}
    for language in _LANGUAGES:
        for code, name in _names(language).items():
            codes.setdefault(normalise(name), code)
    return {**codes, **{normalise(name): code for name, code in _ALSO.items()}}
