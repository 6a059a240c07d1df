"""Text from data is shown as it is, and commands neither the terminal nor the log."""

import io
import logging
import os
import subprocess
import sys
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dbpipe import cli
from dbpipe.catalog.work import units
from dbpipe.cli.terminal import console
from dbpipe.cli.terminal.text import printable, printable_lines
from dbpipe.errors import DataError
from dbpipe.failures import failure_of
from dbpipe.survey import Survey

NASTY = (
    "[/red]", "x[/b].fits", "[link=https://x.y]z[/link]", "[bold", ":warning:", "\x1b[2J\x1b]0;title\x07", "\x9b31m",
    "a\rb", "a\nb", "\x00", "\u202egnp.exe", "\u2066", "\udcff\udcfe", "\u2028", "\x7f", "\\x1b", "{x}", "%s", "",
)  # fmt: skip
TEXT = st.one_of(st.sampled_from(NASTY), st.text(st.characters(), max_size=12))
"""Any characters, lone surrogates among them, and what has done harm."""


def is_harmless(text):
    """Whether a text holds nothing but what can be seen, and line breaks."""
    kinds = {unicodedata.category(character) for character in text.replace("\n", "")}
    return not kinds & {"Cc", "Cf", "Cs", "Zl", "Zp"}


@given(TEXT)
def test_a_printable_text_is_one_line_that_any_encoding_takes(text):
    """What repr would escape is escaped as repr does it, and nothing else is changed."""
    shown = printable(text)
    assert is_harmless(shown) and "\n" not in shown and shown.isprintable()
    assert shown == printable(shown)
    assert shown == text if text.isprintable() else len(shown) > len(text)
    assert printable_lines(f"{text}\n{text}").count("\n") == 2 * text.count("\n") + 1
    shown.encode("utf-8")


@given(TEXT, TEXT, TEXT)
@example("[/red]", "[bold]", "\x1b[31m")
def test_tables_and_lines_show_text_as_it_is(one, two, three):
    """Cells, headings, titles, lines and failures: no markup, no emoji, no control characters, no error."""
    shown = io.StringIO()
    verdict = units.Verdict("ingest", f"path={one}", "", 1, 1, "failed", two, {"card": three})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", shown)
        console.print_table((one, "n"), [(two, 1), (three, None)], title=three)
        console.print_answer([one, two], [(three, 1.5), (None, 2)], title=one)
        console.console().print(f"{one}: {two}")
        with console.Progressing() as report:
            report.start("ingest", 1)
            report.unit(verdict)
    text = shown.getvalue()
    assert is_harmless(text)
    for part in (one, two, three):
        assert printable(part.strip("\n")).strip() in text


@given(TEXT, TEXT)
def test_no_text_passes_for_a_record_of_the_log(one, two):
    """Every record begins a line, and everything else in the log is indented."""
    record = logging.LogRecord("dbpipe", logging.WARNING, "", 0, "%s failed: %s", (one, two), None)
    lines = console._Lines("%(levelname)s %(message)s").format(record).split("\n")
    assert lines[0].startswith("WARNING ") and all(line.startswith("    ") for line in lines[1:])
    assert is_harmless("\n".join(lines))


@given(TEXT)
def test_any_reason_can_be_stored(text):
    """What a unit says of its failure is Unicode, whatever the file had."""
    for error in (DataError(text, card=text), ValueError(text), KeyError(text)):
        failure_of(error).reason.encode("utf-8")


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A survey whose verdicts, bands and paths are nasty."""
    root = tmp_path_factory.mktemp("nasty") / "s"
    with Survey.init(root) as survey:
        survey.connection.execute("INSERT INTO run VALUES (1, now(), NULL, '', '{}', '{}')")
        for number, text in enumerate(NASTY):
            error = failure_of(DataError(text)) if number % 2 else failure_of(ValueError(text))
            key = f"path={text}".encode("utf-8", "backslashreplace").decode()
            verdict = units.Verdict("ingest", key, "x", 1, 1, "failed").failed(error)
            units.commit_unit(survey.connection, verdict, units.Result(), units.Place({}, ()))
            survey.connection.execute("INSERT INTO band VALUES (?) ON CONFLICT DO NOTHING", [key[5:]])
        survey.publish()
    return root


@pytest.mark.parametrize(
    "arguments",
    [
        ("status", "{root}"),
        ("status", "{root}", "--traceback"),
        ("check", "{root}"),
        ("template", "{root}"),
        ("sql", "{root}", "SELECT band AS \"[/red]\", 'a' || chr(27) || '[31m' AS x FROM band"),
        ("sql", "{root}", "SELECT [/b] FROM band"),
        ("sql", "{root}[/b]\x1b[31m", "SELECT 1"),
        ("explain", "{root}", "7"),
        ("lightcurve", "{root}", "[/b]"),
        ("export", "{root}", "{root}/x[/b].csv", "--table", "band"),
        ("config", "{root}"),
        ("ingest", "{root}", "{root}/[/b]\x1b[31m"),
    ],
)
def test_commands_show_nasty_text_as_it_is(root, arguments, monkeypatch, capsys):
    """Every command that prints what a survey holds, or what it was asked, stays calm and shows it."""
    monkeypatch.setattr(sys, "argv", ["dbpipe", *(text.replace("{root}", str(root)) for text in arguments)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    captured = capsys.readouterr()
    assert ended.value.code in (None, 0, 1, 2)
    assert is_harmless(captured.out) and is_harmless(captured.err) and "Traceback" not in captured.err


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_any_encoding_is_served(root, encoding):
    """What the terminal cannot show is escaped; what a program reads is the same bytes everywhere."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-m", "dbpipe"]
    done = subprocess.run([*command, "status", str(root)], env=environment, capture_output=True)
    assert done.returncode == 0 and done.stderr == b"" and b"[/red]" in done.stdout
    query = "SELECT 'µ' || chr(27) AS x"
    done = subprocess.run([*command, "sql", str(root), query, "--csv"], env=environment, capture_output=True)
    assert done.returncode == 0 and done.stdout == 'x\n"µ\x1b"\n'.encode()
