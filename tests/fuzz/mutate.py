"""Bytes, values and words that go wrong, drawn from a seeded generator: what every kind of fuzzing shares."""

NUMBERS = (
    "0", "-0.0", "1", "-1", "2", "255", "256", "-2147483648", "2147483647", "2147483648", "4294967296",
    "9223372036854775807", "9223372036854775808", "1" + "0" * 40, "1E308", "1E400", "-1E400", "4.9E-324", "0.1E", "1D5",
    "NaN", "nan", "inf", "-Infinity", "12,5", "1_000", "0x10", "59592.1", "2459592.6", "86400", "1e-300",
)  # fmt: skip
"""Numbers, and what passes for one."""
TEXTS = (
    "", " ", "'", "''", '"', "\\", "T", "F", "true", "null", "---", "-01:12:13", "2022-01-13", "2022-01-13T02:36:14.0",
    "2022-13-45T99:99:99", "0000-00-00T00:00:00", "13/01/22", "RA---TAN", "DEC--TNX", "RA---ZPX", "GLON-CAR", "UTC",
    "TAI", "TT", "deg", "electron", "r", "[/red]", "[bold]", "x[/b]", "[link=http://x]", "\x1b[31m", "\x1b]0;t\x07",
    "\x00", "\x7f", "\r\n", "é", "λ", "\u202e", "\ud800", "A" * 90, "../../victim", "/dev/zero", "/etc/passwd", "{x}",
    "%s", "$x", "1; DROP TABLE raw", "1=1) --", "'; DELETE FROM raw; --", "*", "?", "~", "-", "--help",
)  # fmt: skip
"""Words that mean something to a parser on the way."""


def pick(random, values):
    """Return one of some values."""
    return values[int(random.integers(len(values)))]


def nasty(random):
    """Return a number or a text as a file would write it."""
    return pick(random, NUMBERS if random.random() < 0.5 else TEXTS)


def mutate_bytes(random, content, others=()):
    """Return bytes with one to four accidents.

    Parameters
    ----------
    random : numpy.random.Generator
    content : bytes
    others : sequence of bytes
        Files of which a part may get in.
    """
    for _ in range(int(random.integers(1, 5))):
        content = pick(random, _ACCIDENTS)(random, content or b"\0", others)
    return content


def _place(random, content):
    """A position, as often as not in the first few thousand bytes, where headers are."""
    reach = len(content) if random.random() < 0.5 else min(len(content), 5760)
    return int(random.integers(reach))


def _length(random):
    return int(pick(random, (1, 2, 8, 30, 80, 500, 2880)))


def _flip(random, content, others):
    at = _place(random, content)
    return content[:at] + bytes([content[at] ^ (1 << int(random.integers(8)))]) + content[at + 1 :]


def _fill(random, content, others):
    at, n = _place(random, content), _length(random)
    byte = pick(random, (b"\0", b"\xff", b" ", b"9", b"'", b"\n", b","))
    return content[:at] + byte * n + content[at + n :]


def _scatter(random, content, others):
    at, n = _place(random, content), _length(random)
    return content[:at] + random.bytes(n) + content[at + n :]


def _insert(random, content, others):
    at = _place(random, content)
    return content[:at] + random.bytes(_length(random)) + content[at:]


def _cut(random, content, others):
    at = _place(random, content)
    return content[:at] + content[at + _length(random) :]


def _end(random, content, others):
    return content[: _place(random, content)]


def _repeat(random, content, others):
    at, n = _place(random, content), _length(random)
    return content[:at] + content[at : at + n] * int(pick(random, (2, 3, 50))) + content[at + n :]


def _splice(random, content, others):
    if not others:
        return content[::-1]
    other = pick(random, others)
    return content[: _place(random, content)] + other[_place(random, other or b"\0") :]


def _word(random, content, others):
    at = _place(random, content)
    text = nasty(random).encode("utf-8", "surrogatepass")
    return content[:at] + text + content[at + len(text) :]


_ACCIDENTS = (_flip, _fill, _scatter, _insert, _cut, _end, _repeat, _splice, _word)
