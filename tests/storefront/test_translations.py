"""What people read is found in code and templates, and no translation is missing or broken."""

from __future__ import annotations

import gettext

import pytest
from django.core.management import CommandError, call_command

from storefront import translations

PYTHON = """
from django.utils.translation import gettext_lazy as _, ngettext, pgettext

NAME = _("Wallet")
ORDERS = ngettext("%(count)s order", "%(count)s orders", 3)
MONTH = pgettext("month name", "May")
dynamic = _(NAME)
"""
TEMPLATE = """
{% load i18n %}
    <h1 title="it's {{ _("Fine") }}">{% translate "Hello" %}</h1>
  {% blocktranslate trimmed with name=user.name %}
      Dear <b>{{ name }}</b>,
      welcome.
  {% endblocktranslate %}
      {% blocktranslate count n=orders trimmed %}
    One order
  {% plural %}
    {{ n }} orders
{% endblocktranslate %}
{# Translators: the verb #}
{% translate "Order" context "verb" %}
"""
MESSAGES = {
    "Dear <b>%(name)s</b>, welcome.",
    "Fine",
    "Hello",
    "May",
    "One order",
    "Order",
    "Wallet",
    "%(count)s order",
}


@pytest.fixture
def project(tmp_path, settings):
    """A project of one module and one template, with nothing translated."""
    settings.BASE_DIR = tmp_path
    settings.LOCALE_PATHS = [tmp_path / "locale"]
    for name, text in (("orders/models.py", PYTHON), ("templates/home.html", TEMPLATE)):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_text(text)
    (tmp_path / "orders" / "migrations").mkdir()
    (tmp_path / "orders" / "migrations" / "0001_initial.py").write_text('_("Never asked for")')
    translations.extract()
    return tmp_path


def po(project, language="fr"):
    return project / "locale" / language / "LC_MESSAGES" / "django.po"


def translate(project, language, entries):
    """Fill in translations, as a person edits the file."""
    text = po(project, language).read_text()
    for original, translated in entries.items():
        empty = f'msgid "{original}"\nmsgstr ""\n'
        assert empty in text, original
        text = text.replace(empty, f'msgid "{original}"\nmsgstr "{translated}"\n')
    po(project, language).write_text(text)


def translate_all(project, language):
    """Every text as its own translation: complete, if dull."""
    lines, original = [], ""
    for line in po(project, language).read_text().splitlines():
        if line.startswith(("msgid ", "msgid_plural ")):
            original = line.partition(" ")[2]
        elif line.startswith("msgstr") and line.endswith(' ""') and original != '""':
            line = line.removesuffix('""') + original  # noqa: PLW2901
        lines.append(line)
    po(project, language).write_text("\n".join(lines) + "\n")


def problems_of(language):
    return {
        line.removeprefix(f"{language}: ")
        for line in translations.problems()
        if line.startswith(language)
    }


@pytest.fixture
def complete(project):
    """The same project with every text translated."""
    for language in translations.LANGUAGES:
        translate_all(project, language)
    assert translations.problems() == []
    return project


def test_extract_finds_what_is_marked_in_code_and_templates(project):
    assert problems_of("fr") == {f"not translated: {message!r}" for message in MESSAGES}
    assert problems_of("tr") == problems_of("fr")


def test_extract_writes_places_contexts_plurals_and_notes(project):
    text = po(project).read_text()

    assert '#. Translators: the verb\n#: templates/home.html\nmsgctxt "verb"\nmsgid "Order"' in text
    assert 'msgid "One order"\nmsgid_plural "%(n)s orders"\nmsgstr[0] ""\nmsgstr[1] ""' in text
    assert 'msgctxt "month name"\nmsgid "May"' in text
    assert '"Plural-Forms: nplurals=2; plural=(n > 1);\\n"' in text


def test_extract_again_changes_nothing(complete):
    before = po(complete).read_bytes()

    translations.extract()

    assert po(complete).read_bytes() == before


def test_extract_keeps_translations_adds_new_texts_and_drops_old_ones(complete):
    (complete / "orders" / "models.py").write_text('_("Wallet")\n_("Purse")\n')

    translations.extract()

    assert problems_of("fr") == {"not translated: 'Purse'"}
    assert 'msgid "Wallet"\nmsgstr "Wallet"' in po(complete).read_text()
    assert "May" not in po(complete).read_text()


def test_extract_keeps_drafts_as_drafts(complete):
    text = po(complete).read_text().replace('msgid "Hello"', '#, fuzzy\nmsgid "Hello"')
    po(complete).write_text(text)

    translations.extract()

    assert po(complete).read_text() == text


def test_problems_tells_texts_that_a_file_lacks_or_has_too_many(complete):
    (complete / "orders" / "models.py").write_text('_("Wallet")\n_("Purse")\n')

    assert problems_of("fr") == {
        "missing: 'Purse'",
        "not in the source: 'May'",
        "not in the source: '%(count)s order'",
    }


def test_problems_tells_fuzzy_and_retired_entries(complete):
    text = po(complete).read_text()
    text = text.replace('msgid "Hello"', '#, fuzzy\nmsgid "Hello"')
    po(complete).write_text(f'{text}\n#~ msgid "Gone"\n#~ msgstr "Parti"\n')

    assert problems_of("fr") == {"fuzzy: 'Hello'", "not in the source: 'Gone'"}


@pytest.mark.parametrize(
    "translated",
    [
        "Cher <b>%(nom)s</b>, bienvenue.",
        "Cher <b></b>, bienvenue.",
        "Cher %(name)s, bienvenue.",
        "Cher <b>%(name)s</b> {extra}, bienvenue.",
    ],
)
def test_problems_tells_other_placeholders_and_tags(project, translated):
    translate(project, "fr", {"Dear <b>%(name)s</b>, welcome.": translated})

    assert "other placeholders or tags: 'Dear <b>%(name)s</b>, welcome.'" in problems_of("fr")


def test_number_may_be_left_out_only_where_english_does(complete):
    text = po(complete).read_text()
    po(complete).write_text(
        text.replace('msgstr[0] "%(n)s orders"', 'msgstr[0] "Une commande"').replace(
            'msgstr[0] "%(count)s orders"', 'msgstr[0] "Une commande"'
        )
    )

    assert problems_of("fr") == {"other placeholders or tags: '%(count)s order'"}


def test_compile_writes_what_gettext_reads_and_only_what_changed(complete):
    assert translations.compile_changed() == 2
    assert translations.compile_changed() == 0
    text = po(complete).read_text()
    po(complete).write_text(text.replace('msgstr "Hello"', 'msgstr "Bonjour"'))
    assert translations.compile_changed() == 1

    compiled = gettext.translation("django", complete / "locale", ["fr"])

    assert compiled.gettext("Hello") == "Bonjour"
    assert compiled.ngettext("One order", "%(n)s orders", 2) == "%(n)s orders"


def test_command_fails_while_anything_is_missing(project):
    with pytest.raises(CommandError, match="16 translation problems"):
        call_command("translations", "check")


def test_command_passes_when_complete(complete):
    call_command("translations", "check")
