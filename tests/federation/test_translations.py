"""Texts in the reader's language: the catalogues are whole and are used; which language; numbers and moments."""

import re
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime
from string import Formatter

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import read_po

from federation.i18n import (
    LANGUAGES,
    current_language,
    decimal,
    gettext,
    language_name,
    moment,
    negotiate,
    ngettext,
    use_language,
)
from tests.generated import LOCALE, texts

TRANSLATED = ("es", "pt")
OFFERED = ["en", "es", "pt"]
PERCENT = re.compile(r"%\(\w+\)[a-z]")

# How the field's words are said, whatever the sentence: (English, {language: what the translation has instead}).
VOCABULARY = [
    ("session", {"es": "sesi[oó]n", "pt": "sess([aã]o|ões)"}),
    ("quota", {"es": "cuota", "pt": "cota"}),
    ("unit-hour", {"es": "unidad(es)?-hora", "pt": "unidades?-hora"}),
    ("flavour", {"es": "tamaño", "pt": "tamanho"}),
    ("environment", {"es": "entorno", "pt": "ambiente"}),
    ("notebook", {"es": "notebook", "pt": "notebook"}),
    ("federation", {"es": "federación", "pt": "federação"}),
    (r"\btier\b", {"es": "nivel", "pt": "nível"}),
    ("grants", {"es": "asignaciones", "pt": "alocações"}),
    ("communit", {"es": "comunidad", "pt": "comunidade"}),
    ("access desk", {"es": "mesa de acceso", "pt": "balcão de acesso"}),
    ("set aside", {"es": "apartad", "pt": "reservad"}),
    ("reference:", {"es": "referencia:", "pt": "referência:"}),
]


@pytest.fixture(autouse=True)
def _english_again() -> Iterator[None]:
    yield
    use_language("en")


@pytest.fixture(scope="module")
def wanted() -> list[Message]:
    """A freshly extracted template, not the one on disk."""
    messages = [message for message in texts() if message.id]
    assert len(messages) > 100
    return messages


@pytest.fixture(scope="module", params=TRANSLATED)
def translation(request: pytest.FixtureRequest) -> Catalog:
    with (LOCALE / request.param / "LC_MESSAGES" / "nbfed.po").open("rb") as lines:
        return read_po(lines, locale=request.param, abort_invalid=True)


def forms(text: object) -> list[str]:
    """A text alone, or its singular and plural forms."""
    return [str(one or "") for one in text] if isinstance(text, list | tuple) else [str(text or "")]


def placeholders(text: str) -> Counter[str]:
    """`{name}` and `%(name)s` with how often each is there; raises where a brace has no partner."""
    braces = [
        f"{{{name}!{conversion}:{rest}}}" for _, name, rest, conversion in Formatter().parse(text) if name is not None
    ]
    return Counter([*braces, *PERCENT.findall(text)])


def words(text: object) -> str:
    """A text without its placeholders."""
    return re.sub(r"\{[^{}]*\}|" + PERCENT.pattern, "", " ".join(forms(text)))


# --- the catalogues -----------------------------------------------------------------------------------------------


def test_every_language_but_english_has_a_catalogue() -> None:
    assert sorted(file.parts[-3] for file in LOCALE.glob("*/LC_MESSAGES/nbfed.po")) == sorted({*LANGUAGES} - {"en"})


def test_every_text_is_translated(wanted: list[Message], translation: Catalog) -> None:
    gaps = []
    for message in wanted:
        translated = translation.get(message.id)
        if translated is None or translated.fuzzy or not all(form.strip() for form in forms(translated.string)):
            gaps.append(message.id)
    assert gaps == []


def test_nothing_is_translated_that_nobody_says(wanted: list[Message], translation: Catalog) -> None:
    said = {str(message.id) for message in wanted}
    assert [message.id for message in translation if message.id and str(message.id) not in said] == []
    assert not translation.obsolete


def test_placeholders_agree(wanted: list[Message], translation: Catalog) -> None:
    wrong = []
    for message in wanted:
        translated = translation.get(message.id)
        allowed = [placeholders(form) for form in forms(message.id)]
        wrong += [form for form in forms(translated and translated.string) if placeholders(form) not in allowed]
    assert wrong == []


def test_translations_begin_and_end_as_the_english_does(wanted: list[Message], translation: Catalog) -> None:
    """Space at the edges, and what a sentence ends with: texts are put together from several."""
    wrong = []
    for message in wanted:
        for form in forms(translation[message.id].string):
            english = forms(message.id)[0]
            same_end = form[-1] == english[-1] or not {form[-1], english[-1]} & set(".:…?,;")
            open_end = english.endswith("}")  # a sentence may be closed after a figure
            if form != form.strip() or not (same_end or open_end):
                wrong.append(form)
    assert wrong == []


@pytest.mark.parametrize(("english", "instead"), VOCABULARY, ids=[english for english, _ in VOCABULARY])
def test_the_fields_words_are_said_the_same_everywhere(
    wanted: list[Message], translation: Catalog, english: str, instead: dict[str, str]
) -> None:
    with_word = [message for message in wanted if re.search(english, words(message.id), re.IGNORECASE)]
    assert with_word
    stem = instead[str(translation.locale)]
    others = [translation[message.id].string for message in with_word]
    assert [text for text in others if not re.search(stem, str(text), re.IGNORECASE)] == []


def test_signing_in_is_not_called_a_session(wanted: list[Message], translation: Catalog) -> None:
    """“Iniciar sesión” would be both: a sign-in, and a notebook's session."""
    ambiguous = re.compile(r"\b(iniciar|inicie|cerrar|cierre|encerrar|terminar) (sesión|sessão)\b", re.IGNORECASE)
    assert [m.string for m in translation if m.id and ambiguous.search(str(m.string))] == []


@pytest.mark.parametrize("language", TRANSLATED)
def test_the_header_says_what_it_is_and_nothing_that_changes(language: str) -> None:
    text = (LOCALE / language / "LC_MESSAGES" / "nbfed.po").read_text(encoding="utf-8")
    header = text.split("\n\n", 1)[0]
    assert f'"Language: {language}\\n"' in header
    assert '"Content-Type: text/plain; charset=utf-8\\n"' in header
    assert "Plural-Forms: nplurals=2;" in header
    assert not re.search("-Date|Generated-By|X-Generator|Translator|Team", header)


# --- they are used ------------------------------------------------------------------------------------------------


def test_gettext_gives_the_translation(wanted: list[Message], translation: Catalog) -> None:
    use_language(str(translation.locale))
    for message in wanted:
        if isinstance(message.id, tuple):
            assert {ngettext(*message.id, count) for count in (1, 2)} <= set(translation[message.id].string)
        else:
            assert gettext(message.id) == translation[message.id].string


@pytest.mark.parametrize(
    ("language", "text"), [("en", "Your quota"), ("es", "Su cuota"), ("pt", "A sua cota"), ("de", "Your quota")]
)
def test_a_text_in_each_language(language: str, text: str) -> None:
    use_language(language)
    assert gettext("Your quota") == text


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_is_in_no_catalogue_stays_as_it_is(language: str) -> None:
    use_language(language)
    assert gettext("This text is in no catalogue.") == "This text is in no catalogue."
    assert [ngettext("one", "many", count) for count in (1, 2)] == ["one", "many"]
    assert gettext("") == ""  # the header of a catalogue has the empty text as its id


def test_an_unknown_language_is_english() -> None:
    use_language("es")
    assert current_language() == "es"
    use_language("../es")
    assert current_language() == "en"


@pytest.mark.parametrize(("language", "name"), [("en", "English"), ("es", "Español"), ("pt", "Português")])
def test_languages_call_themselves_by_their_names(language: str, name: str) -> None:
    assert language_name(language) == name


# --- which language -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("chosen", "accept_language", "language"),
    [
        pytest.param("pt", "es", "pt", id="what-was-chosen-comes-first"),
        pytest.param("de", "es", "es", id="chosen-but-not-offered"),
        pytest.param("", "es", "es", id="chosen-is-empty"),
        pytest.param(None, "pt", "pt", id="one-wish"),
        pytest.param(None, "es-CL", "es", id="with-a-country"),
        pytest.param(None, "PT-br", "pt", id="letter-case"),
        pytest.param(None, "es,pt", "es", id="equal-wishes-in-their-order"),
        pytest.param(None, "es;q=0.3, pt;q=0.8, en;q=0.5", "pt", id="the-highest-quality"),
        pytest.param(None, "es;q=0.9,pt", "pt", id="no-quality-is-1"),
        pytest.param(None, "es; q=0.2,  pt; q=0.4 ", "pt", id="space-around-the-quality"),
        pytest.param(None, "pt-BR,pt;q=0.9,en-US;q=0.8,en;q=0.7", "pt", id="as-a-browser-says-it"),
        pytest.param(None, "de,fr;q=0.9,es;q=0.1", "es", id="the-first-known-among-unknown"),
        pytest.param(None, "de, fr;q=0.5", "en", id="only-unknown"),
        pytest.param(None, "*", "en", id="any"),
        pytest.param(None, "es;q=high, pt;q=0.1", "pt", id="malformed-quality"),
        pytest.param(None, "es;level=1", "en", id="another-parameter"),
        pytest.param(None, ";q=1,,;;,=,-", "en", id="malformed"),
        pytest.param(None, "\x00\n'\"<script>", "en", id="not-a-list-of-languages"),
        pytest.param(None, "es," * 5000, "es", id="very-long"),
        pytest.param(None, "", "en", id="empty"),
        pytest.param(None, "  ", "en", id="blank"),
    ],
)
def test_negotiation(chosen: str | None, accept_language: str, language: str) -> None:
    assert negotiate(chosen, accept_language, OFFERED) == language


@pytest.mark.parametrize(
    ("chosen", "accept_language", "offered", "language"),
    [
        pytest.param("en", "en", ["pt", "es"], "pt", id="english-is-not-offered"),
        pytest.param(None, "", ["es", "en"], "es", id="the-first-offered-is-the-default"),
        pytest.param(None, "pt,en;q=0.1", ["es", "en"], "en", id="a-poor-wish-that-is-offered"),
    ],
)
def test_only_what_is_offered_is_spoken(
    chosen: str | None, accept_language: str, offered: list[str], language: str
) -> None:
    assert negotiate(chosen, accept_language, offered) == language


# --- numbers and moments ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "number", "digits", "text"),
    [
        ("en", 1234567.891, 2, "1,234,567.89"),
        ("es", 1234567.891, 2, "1.234.567,89"),
        ("pt", 1234567.891, 2, "1.234.567,89"),
        ("en", 0.5, 3, "0.5"),
        ("es", 0.5, 3, "0,5"),
        ("pt", 0.0627, 3, "0,063"),
        ("es", 100, 1, "100"),
        ("pt", -1.5, 1, "-1,5"),
        ("es", 0, 4, "0"),
    ],
)
def test_decimals(language: str, number: float, digits: int, text: str) -> None:
    use_language(language)
    assert decimal(number, digits) == text


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Nov 3, 2026, 9:05:07 AM UTC"),
        ("es", "3 nov 2026, 9:05:07 UTC"),
        ("pt", "3 de nov. de 2026 09:05:07 UTC"),
    ],
)
def test_moments(language: str, text: str) -> None:
    use_language(language)
    said = moment(datetime(2026, 11, 3, 9, 5, 7, tzinfo=UTC))
    assert " ".join(said.replace(",", ", ").split()) == text  # which kind of space there is changes with the CLDR
