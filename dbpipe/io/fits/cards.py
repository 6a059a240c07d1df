"""Header cards, read when somebody asks for them: one that breaks the rules of FITS harms nobody else."""

import math
import re
from collections.abc import Mapping
from typing import Any

from dbpipe.errors import DataError
from dbpipe.names import nearest

CARD_BYTE = 80
"""FITS 4.0, section 4.1"""
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][+-]?\d+)?"
"""FITS 4.0, sections 4.2.3 and 4.2.4"""
_EXACT_NUMBER = re.compile(NUMBER, re.ASCII)
_VALUE = re.compile(
    rf" *(?:'(?P<text>(?:[ -&(-~]|'')*)'|(?P<logical>[TF])|(?P<number>{NUMBER})|(?P<none>)) *(?:/.*)?",
    re.ASCII | re.DOTALL,
)
_COMMENTARY = ("", "COMMENT", "HISTORY", "CONTINUE")
_NEEDED = "a number with a decimal point, T, F, or text in single quotes"


class Header(Mapping[str, Any]):
    """Keyword -> value of a header: text, bool, int or float.

    A keyword whose card has no value is not there. Asking for one whose value cannot be understood, or that stands
    there several times with different values, is a DataError that shows the card; nobody else notices.
    """

    def __init__(self, cards: Mapping[str, list[bytes]]) -> None:
        """Take keyword -> list of cards, each one 80 bytes, or more where it goes on."""
        self._cards = cards
        self._values: dict[str, Any] = {}

    @classmethod
    def from_bytes(cls, block: bytes) -> "Header":
        """Sort the cards of a header by their keywords."""
        cards: dict[str, list[bytes]] = {}
        last = None
        for start in range(0, len(block), CARD_BYTE):
            card = block[start : start + CARD_BYTE]
            if is_end(card):
                break
            keyword = _keyword(card)
            if keyword == "CONTINUE" and last is not None:
                last[-1] += card
            elif keyword not in _COMMENTARY:
                last = cards.setdefault(keyword, [])
                last.append(card)
            else:
                last = None
        return cls(cards)

    def __getitem__(self, keyword: str) -> bool | float | str:
        if keyword not in self._values:
            self._values[keyword] = self._read(keyword)
        value = self._values[keyword]
        if isinstance(value, DataError):
            raise value
        if value is None:
            raise KeyError(keyword)
        return value

    def __contains__(self, keyword: object) -> bool:
        try:
            self[str(keyword)]
        except KeyError:
            return False
        except DataError:
            pass  # it is there, whatever it says
        return True

    def __iter__(self) -> Any:
        return iter(self._cards)

    def __len__(self) -> Any:
        return len(self._cards)

    def first_card(self, keyword: str) -> bytes:
        """Return the bytes of the first card of a keyword, as they stand in the file."""
        return bytes(self._cards[keyword][0])

    def _read(self, keyword: str) -> Any:
        """Return the value of a keyword, None if it has none, or the error that speaks against it."""
        cards = self._cards.get(keyword, ())
        try:
            values = [value for value in map(_read_value, cards) if value is not None]
        except ValueError:
            shown = [show(card) for card in cards]
            return DataError(
                f"{keyword} is needed, but its card breaks the rules of FITS",
                card=shown[0] if len(shown) == 1 else shown, needed=_NEEDED,
            )  # fmt: skip
        if any(value != values[0] for value in values):
            return DataError(f"{keyword} is needed, but has several values", cards=list(map(show, cards)))
        return values[0] if values else None


def is_end(card: bytes) -> bool:
    """Return whether a card is the last of its header; some writers fill up with zeros instead of blanks."""
    return card.rstrip(b" \0") == b"END"


def show(card: bytes) -> str:
    """Return a card as text that can be printed: what is not plain ASCII is escaped."""
    return bytes(card).rstrip().decode("latin-1").encode("unicode_escape").decode("ascii")


def exact_number(value: Any) -> float | None:
    """Return a number, or text that is exactly a number, as float; None for anything else and what is not finite."""
    if isinstance(value, str):
        value = value.strip()
        value = float(value.upper().replace("D", "E")) if _EXACT_NUMBER.fullmatch(value) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return None
    return float(value)


def read_number(header: Mapping[str, Any], keyword: str) -> float:
    """Return the number that a keyword holds, as float, also where it is written as text.

    Raises
    ------
    DataError
        If it holds anything else: nothing is guessed from units, decimal commas or colons.
    """
    value = header[keyword]
    number = exact_number(value)
    if number is None:
        raise DataError(
            f"keyword {keyword} is not a number",
            value=str(value),
            needed="a finite number, no comma, no unit",
        )
    return number


def missing_card(header: Mapping[str, Any], keyword: str) -> DataError:
    """Return the verdict on a header without a keyword, or with one whose card has no value."""
    if any(name == keyword for name in header):  # a Header lists its cards, and has only those with a value
        return DataError(f"the card of keyword {keyword} has no value", keyword=keyword, needed=f"{keyword} = VALUE")
    return DataError(f"keyword {keyword} is missing", missing=keyword, similar=nearest(keyword, header))


def _keyword(card: bytes) -> str:
    """Return the keyword of a card in capitals; wherever its = stands, it is found again."""
    name = card[:8].decode("latin-1")
    if name == "HIERARCH" and b"=" in card:
        return " ".join(card[8:].partition(b"=")[0].decode("latin-1").upper().split())
    if card[8:9] != b"=" and "=" in name + card[8:12].decode("latin-1") and name.rstrip() not in _COMMENTARY:
        name = card.partition(b"=")[0].decode("latin-1")
    return name.strip().upper()


def _read_value(card: bytes) -> bool | float | str | None:
    """Return the value of one card, None if it has none; ValueError if it cannot be understood."""
    first, *more = (card[start : start + CARD_BYTE] for start in range(0, len(card), CARD_BYTE))
    if first.startswith(b"HIERARCH"):
        _, equals, rest = first.partition(b"=")
    else:
        equals, rest = first[8:10], first[10:]
        if equals != b"= " and b"=" not in first[:12]:
            return None  # a comment by any other name (FITS 4.0, 4.1.2.3)
        if equals != b"= ":
            raise ValueError("the value indicator is not in columns 9 and 10")
    value = _parse(rest)
    for card_after in more:  # FITS 4.0, 4.2.1.2: text that ends with & goes on
        if not isinstance(value, str) or not value.endswith("&"):
            break
        value = value[:-1] + str(_parse(card_after[8:]) or "")
    return value


def _parse(raw: bytes) -> bool | float | str | None:
    match = _VALUE.fullmatch(raw.decode("latin-1"))
    if match is None:
        raise ValueError("neither text nor number nor T nor F")
    if match["text"] is not None:
        return match["text"].replace("''", "'").rstrip()
    if match["logical"] is not None:
        return match["logical"] == "T"
    if match["number"] is None:
        return None
    if match["number"].lstrip("+-").isdigit():
        return int(match["number"])
    value = float(match["number"].upper().replace("D", "E"))
    if not math.isfinite(value):
        raise ValueError("the number is too large")
    return value
