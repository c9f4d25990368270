"""What personal data look like: by the name of a column, by certain signs inside a text, or by what most values are.

A kind has up to three signs. *Names*: a column (or a member of JSON content) of that name whose values could be such.
*Certain*: a pattern that is hardly ever anything else, wherever it stands in a text. *Usual*: whole values that prove
nothing alone (a town may be called Florence) but do where many different ones look so.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from features.personal_policy import TOKEN
from features.personal_words import FIRST_NAMES, PICTURE_ENDINGS, STREET_WORDS


@dataclass(frozen=True, slots=True)
class PersonalKind:
    """One kind of personal data.

    Attributes:
        noun: In the plural, as messages say it.
        names: Phrases, as alternatives of a pattern, at the end of the names of columns and members that hold such.
        plausible: What a value under such a name must hold to count.
        certain: Pattern of such a value inside any text.
        valid: Whether what the pattern found is one.
        chance: Share of random finds that are valid all the same.
        usual: Whole values that look so, but may be something else.
        not_under: Pattern of names under which finds are something else.
    """

    noun: str
    names: str = ""
    plausible: re.Pattern[str] = re.compile(r"[^\W_]")
    certain: re.Pattern[str] | None = None
    valid: Callable[[str], bool] = bool
    chance: float = 0.0
    usual: re.Pattern[str] | None = None
    not_under: re.Pattern[str] | None = None

    def applies_under(self, words: str) -> bool:
        """Whether finds under a name of these words are of this kind."""
        return self.not_under is None or not self.not_under.search(words)

    def could_be(self, text: str) -> bool:
        """Whether a value under one of the kind's names is of this kind: not where it is a flag, or a token."""
        return bool(self.plausible.search(text)) and not _SAYS_NOTHING.fullmatch(text)

    def __repr__(self) -> str:
        return f"PersonalKind({self.noun})"


#: Values that tell nothing of anybody, whatever the name above them says.
_SAYS_NOTHING = re.compile(
    rf"(?i)\s*(?:0|1|true|false|yes|no|y|n|t|f|none|null|nan|unknown|missing|n/?a|-|other|{TOKEN.pattern})?\s*"
)


def luhn(text: str) -> bool:
    """Whether the digits in ``text`` pass the check of payment cards (ISO/IEC 7812-1, annex B).

    >>> luhn("4111 1111 1111 1111"), luhn("4111 1111 1111 1112")
    (True, False)
    """
    digits = [int(sign) for sign in reversed(text) if sign.isdecimal()]
    return (sum(digits[::2]) + sum(sum(divmod(2 * digit, 10)) for digit in digits[1::2])) % 10 == 0


def _is_iban(text: str) -> bool:
    """The check of ISO 13616: as a number, with letters from 10 to 35 and the head at the end, 1 modulo 97."""
    plain = text.replace(" ", "")
    return 15 <= len(plain) <= 34 and int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def _is_public_address(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).is_global
    except ValueError:
        return False


def _is_phone(text: str) -> bool:
    return 8 <= sum(sign.isdecimal() for sign in text) <= 15


_FULL_DATE = r"(?:19|20)\d\d[-/.]?[01]\d[-/.]?[0-3]\d|\d{1,2}[-/. ]+(?:\d{1,2}|[^\W\d_]{3,9})[-/. ,]+(?:19|20)?\d\d"

EMAIL = PersonalKind(
    "e-mail addresses",
    "email|e mail|mail|email address|e mail address|mail address",
    plausible=re.compile(r"@|%40| at "),
    certain=re.compile(r"(?<![\w.+'-])[\w.+'-]+(?:@|%40)(?:[\w-]+\.)+[^\W\d_][\w-]+"),
    valid=lambda text: not re.fullmatch(PICTURE_ENDINGS, text.rpartition(".")[2].lower()),
)
CARD = PersonalKind(
    "payment card numbers",
    "card number|card no|card num|credit card|debit card|cc number|pan",
    plausible=re.compile(r"(?:\d[ -]?){12}"),
    certain=re.compile(
        r"(?<![\w.-])(?:4\d\d\d|5[1-5]\d\d|2[2-7]\d\d|3[0-9]\d\d|6(?:011|2\d\d|4[4-9]\d|5\d\d))(?:[ -]?\d){10,15}"
        r"(?![\w-]|\.\d)",
        re.ASCII,
    ),
    valid=luhn,
    chance=0.1,
)
BANK_ACCOUNT = PersonalKind(
    "bank account numbers",
    "iban|bank account|bank account number",
    plausible=re.compile(r"(?:\d[ -]?){6}"),
    certain=re.compile(r"(?<!\w)[A-Z]{2}\d\d(?: ?[A-Z0-9]{4}){2,7}(?: ?[A-Z0-9]{1,3})?(?!\w)", re.ASCII),
    valid=_is_iban,
    chance=1 / 97,
)
NETWORK_ADDRESS = PersonalKind(
    "IP addresses",
    "ip|ip address|ip addr|ipv|remote addr|mac address",
    plausible=re.compile(r"\d+\.\d+\.\d+\.\d+|[0-9a-fA-F]*:[0-9a-fA-F:]+"),
    certain=re.compile(
        r"(?<![\w./-])(?:(?:\d{1,3}\.){3}\d{1,3}|[23][0-9a-f]{3}:[0-9a-f:]{2,34})(?![\w-]|\.\d)", re.ASCII | re.I
    ),
    valid=_is_public_address,
    not_under=re.compile(r"\b(?:version|agent|build|release|firmware)\b"),
)
PHONE = PersonalKind(
    "phone numbers",
    "phone|phone number|phone no|phone nr|telephone|telephone number|tel|mobile|mobile number|cell|cellphone|"
    "cell number|fax|fax number|msisdn|whatsapp|telefon|telefonnummer",
    plausible=re.compile(r"(?:\d[ ()./+-]{0,3}){7}"),
    certain=re.compile(
        r"(?<![\w+])\+[1-9](?:[ ./()-]{0,3}\d){7,14}(?!\w)"
        r"|(?<!\w)\(\d{3}\)[ -]?\d{3}[ .-]\d{4}(?!\w)"
        r"|(?<![\w.-])\d{3}[-.]\d{3}[-.]\d{4}(?![\w-]|\.\d)",
        re.ASCII,
    ),
    valid=_is_phone,
    usual=re.compile(r"\(?0[1-9]\d{1,4}\)?[ /-]+\d[\d /-]{4,10}", re.ASCII),
)
BIRTH_DATE = PersonalKind(
    "dates of birth",
    "birth date|date of birth|dob|birthday|birth day|born|born on|geburtsdatum|geburtstag",
    plausible=re.compile(rf"{_FULL_DATE}|^-?\d{{9,14}}$"),
)
DOCUMENT = PersonalKind(
    "numbers of identity documents",
    "ssn|social security number|passport|passport number|national id|tax id|driver license|drivers license|"
    "driving licence|identity card",
    plausible=re.compile(r"(?:\d\D{0,2}){5}"),
)
ADDRESS = PersonalKind(
    "postal addresses",
    "address|address line|street|street name|street number|street address|house number|postal address|"
    "adresse|strasse|straße|hausnummer|direccion|dirección|indirizzo",
    usual=re.compile(
        rf"\d{{1,5}}[a-z]?,? +(?:[^\W\d_][\w.'-]* +){{1,3}}(?:{STREET_WORDS})\b.*"
        r"|[^\W\d_][\w.' -]*(?:str\.?|stra(?:ss|ß)e|weg|platz|gasse|allee) +\d{1,4} ?[a-z]?\b.*"
        r"|\d{1,4},? (?:rue|avenue|boulevard|place) .+",
        re.I,
    ),
    not_under=re.compile(r"\b(?:web|site|page|url) address"),
)
PERSON = PersonalKind(
    "names of people",
    "first name|last name|middle name|maiden name|given name|family name|full name|surname|forename|"
    "user name|login name|nick name|customer name|client name|contact name|member name|recipient name|"
    "buyer name|shopper name|cardholder name|person name|holder name|billing name|shipping name|vorname|"
    "nachname|prenom|prénom|apellido|cognome",
    plausible=re.compile(r"[^\W\d_]{2}"),
    usual=re.compile(rf"(?:{FIRST_NAMES})(?: [^\W\d_]\.?)?(?: [^\W\d_][\w'-]+){{1,2}}", re.I),
)

#: The more special name before the more general: an e-mail address is no address.
KINDS = (EMAIL, CARD, BANK_ACCOUNT, NETWORK_ADDRESS, PHONE, BIRTH_DATE, DOCUMENT, ADDRESS, PERSON)

#: Under these members of JSON content, and in a table of people, a plain ``name`` is a person's.
PEOPLE = "customer|user|client|contact|member|recipient|buyer|shopper|person|profile"

_NAMED = [(re.compile("(?:^| )(?:" + kind.names.replace(" ", " ?") + ")$"), kind) for kind in KINDS]
_PERSON_NAMED = re.compile(f"(?:^| )(?:{PEOPLE})(?: info| data| details)? name$")


def words_of(name: str) -> str:
    """The words of a column's name in lower case: ``shippingAddress_2`` is ``shipping address``."""
    return " ".join(re.sub(r"[\W\d_]+", " ", re.sub(r"([a-z])([A-Z])", r"\1 \2", name)).lower().split())


def kind_by_name(name: str, of_people: bool = False) -> PersonalKind | None:
    """The kind that columns of that name hold.

    Args:
        name: Of a column, or the dotted path of a member.
        of_people: Whether the rows are people, so that a ``name`` is a person's.

    >>> kind_by_name("customer.firstName"), kind_by_name("email_opens"), kind_by_name("store_name")
    (PersonalKind(names of people), None, None)
    """
    words = words_of(name)
    for pattern, kind in _NAMED:
        if pattern.search(words) and kind.applies_under(words):
            return kind
    return PERSON if (of_people and words == "name") or _PERSON_NAMED.search(words) else None


def finds(text: str) -> Iterator[str]:
    """The parts of ``text`` that look certainly personal."""
    for kind in KINDS:
        if kind.certain is not None:
            yield from (match[0] for match in kind.certain.finditer(text))


def shape(text: str) -> str:
    """The text with each letter as x and each digit as 9: enough to recognise the kind, nothing of the person.

    >>> shape("Jo.Doe7@example.org")
    'xx.xxx9@xxxxxxx.xxx'
    """
    return re.sub(r"[^\W_]", lambda sign: "9" if sign[0].isdecimal() else "x", text)


_MEMBERS = "|".join(kind.names for kind in KINDS).replace(" ", '[^"a-zA-Z]*')

#: A cheap pattern that every engine knows: texts without it hold no certain find and no member of a personal name.
SUSPICIOUS = "|".join(
    (
        r"@|%40|\\u00|\+[1-9]|\([0-9]{3}\)|[0-9]{3}[-.][0-9]{3}[-.][0-9]{4}",
        r"[0-9]\.[0-9]{1,3}\.[0-9]{1,3}\.[0-9]|[23][0-9a-fA-F]{3}:[0-9a-fA-F:]",
        r"[2-6][0-9]{3}([ -]?[0-9]){10}|[A-Z]{2}[0-9]{2} ?[0-9A-Z]{4} ?[0-9A-Z]{4}",
        f'(?i:{_MEMBERS})[^"a-zA-Z]*"\\s*:|"(?i:{PEOPLE})"\\s*:\\s*[{{\\[]',
    )
)

__all__ = [
    "EMAIL",
    "KINDS",
    "PERSON",
    "SUSPICIOUS",
    "PersonalKind",
    "finds",
    "kind_by_name",
    "luhn",
    "shape",
    "words_of",
]
