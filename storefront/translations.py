"""Translation files without gettext's programs: extracted, checked and compiled through Babel.

English is the source language. What people read is marked in .py files and templates; the
translations are kept in locale/<language>/LC_MESSAGES/django.po, and the .mo files that Django
reads are compiled from them and never committed.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract as babel_extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.conf import settings
from django.utils.translation.template import templatize

LANGUAGES = tuple(code for code, _name in settings.LANGUAGES if code != "en")
SOURCES = ("accounts", "catalog", "orders", "storefront", "templates")
# Both languages count 0 and 1 as one (`n > 1`), as in Django's own files.
HEADER = """\
msgid ""
msgstr ""
"Language: {language}\\n"
"Plural-Forms: nplurals=2; plural=(n > 1);\\n"
"MIME-Version: 1.0\\n"
"Content-Type: text/plain; charset=utf-8\\n"
"Content-Transfer-Encoding: 8bit\\n"
"""

_KEYWORDS: dict[str, Any] = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "gettext_noop": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sd]|\{\w*\}|</?[a-z]\w*")


def extract() -> int:
    """Bring every language's file up to what the source asks for, keeping its translations.

    New texts get an empty translation, texts that are gone are dropped. Returns how many texts
    there are.
    """
    template = _template()
    for language in LANGUAGES:
        kept = _read(language)
        catalog = _parse(HEADER.format(language=language).encode(), language)
        for message in _messages(template):
            old = kept.get(message.id, message.context)
            catalog.add(
                message.id,
                old.string if old else None,
                flags={"fuzzy"} if old and old.fuzzy else (),
                locations=message.locations,
                auto_comments=message.auto_comments,
                context=message.context,
            )
        _write(catalog, language)
    return len(template)


def problems() -> list[str]:
    """What keeps the translations from being complete and usable, one line each."""
    template = _template()
    found = []
    for language in LANGUAGES:
        catalog = _read(language)
        for message in _messages(template):
            if complaint := _complaint(message, catalog.get(message.id, message.context)):
                found.append(f"{language}: {complaint}: {_first(message)!r}")
        found += [
            f"{language}: not in the source: {_first(message)!r}"
            for message in [*_messages(catalog), *catalog.obsolete.values()]
            if template.get(message.id, message.context) is None
        ]
    return found


def compile_changed() -> int:
    """Write the .mo files that are older than their .po files; returns how many."""
    written = 0
    for language in LANGUAGES:
        source = _path(language)
        target = source.with_suffix(".mo")
        if target.exists() and target.stat().st_mtime >= source.stat().st_mtime:
            continue
        with io.BytesIO() as compiled:
            write_mo(compiled, _read(language))
            _replace(target, compiled.getvalue())
        written += 1
    return written


def _path(language: str) -> Path:
    return Path(settings.LOCALE_PATHS[0]) / language / "LC_MESSAGES" / "django.po"


def _parse(text: bytes, language: str) -> Catalog:
    return read_po(io.BytesIO(text), locale=language, charset="utf-8", abort_invalid=True)


def _read(language: str) -> Catalog:
    path = _path(language)
    text = path.read_bytes() if path.exists() else HEADER.format(language=language).encode()
    return _parse(text, language)


def _write(catalog: Catalog, language: str) -> None:
    with io.BytesIO() as written:
        # No dates and no line numbers: a file changes when a text does.
        write_po(written, catalog, width=100, sort_by_file=True, include_lineno=False)
        body = written.getvalue().partition(b"\n\n")[2]
    path = _path(language)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(HEADER.format(language=language).encode() + b"\n" + body.rstrip() + b"\n")


def _replace(path: Path, content: bytes) -> None:
    """In one step: another process reads the old file or the new one, never half of it."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(content)
    temporary.replace(path)


def _messages(catalog: Catalog) -> Iterator[Message]:
    return (message for message in catalog if message.id)


def _template() -> Catalog:
    catalog = Catalog()
    for path in _source_files():
        text = path.read_text(encoding="utf-8")
        place = path.relative_to(settings.BASE_DIR).as_posix()
        if path.suffix != ".py":
            # Indented as markup is, which Python's tokenizer would refuse.
            text = "\n".join(line.lstrip() for line in templatize(text, place).splitlines())
        for line, message, comments, context in babel_extract(
            "python", io.BytesIO(text.encode()), _KEYWORDS, ["Translators:"]
        ):
            catalog.add(message, locations=[(place, line)], auto_comments=comments, context=context)
    return catalog


def _source_files() -> Iterator[Path]:
    for folder in SOURCES:
        for path in sorted((settings.BASE_DIR / folder).rglob("*")):
            if path.suffix in (".py", ".html", ".txt") and "migrations" not in path.parts:
                yield path


def _complaint(message: Message, translated: Message | None) -> str | None:
    if translated is None:
        return "missing"
    if translated.fuzzy:
        return "fuzzy"
    texts = _texts(translated.string)
    if not all(texts) or len(_texts(message.id)) > len(texts):
        return "not translated"
    originals = [set(_PLACEHOLDER.findall(text)) for text in _texts(message.id)]
    # "One order" may leave out the number that "%(count)s orders" has.
    needed, allowed = set.intersection(*originals), set.union(*originals)
    for text in texts:
        if not needed <= set(_PLACEHOLDER.findall(text)) <= allowed:
            return "other placeholders or tags"
    return None


def _texts(value: Any) -> list[str]:
    return list(value) if isinstance(value, tuple | list) else [value]


def _first(message: Message) -> str:
    return _texts(message.id)[0]
