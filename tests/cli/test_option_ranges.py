"""Numbers on the command line are held to what makes sense."""

import pytest
from typer.testing import CliRunner

from dbpipe.cli.app import app


@pytest.mark.parametrize(
    "words",
    [
        ("run", "s", "--settle", "nan"),
        ("run", "s", "--settle", "inf"),
        ("run", "s", "--settle", "-1"),
        ("run", "s", "--workers", "0"),
        ("run", "s", "--workers", "1000000"),
        ("demo", "d", "--workers", "0"),
        ("template", "s", "--quantile", "nan"),
        ("template", "s", "--quantile", "1.5"),
        ("template", "s", "--max-psf-fwhm", "nan"),
        ("template", "s", "--max-psf-fwhm", "-1"),
        ("export", "s", "out", "--layout", "hats", "--margin", "nan"),
        ("export", "s", "out", "--layout", "hats", "--margin", "-1"),
        ("export", "s", "out", "--layout", "hats", "--margin", "1e9"),
        ("simulate", "o", "--size", "1000000000"),
        ("simulate", "o", "--seed", "-1"),
        ("simulate", "o", "--seed", str(2**70)),
        ("simulate", "o", "--n-visit", "100000000"),
        ("simulate", "o", "--catalog", "nan"),
        ("simulate", "o", "--catalog", "inf"),
        ("simulate", "o", "--catalog", "1e12"),
        ("sql", "s", "SELECT 1", "--limit", "0"),
        ("explain", "s", str(2**70)),
        ("refcat", "s", "--from-exposure", str(2**70)),
    ],
)
def test_an_absurd_number_is_wrong_usage(tmp_path, monkeypatch, words):
    """A number outside of its range ends the command with code 2 and a line that names the option; nothing is made."""
    monkeypatch.chdir(tmp_path)
    ended = CliRunner().invoke(app, list(words))
    assert ended.exit_code == 2
    assert "Invalid value for" in ended.output
    assert list(tmp_path.iterdir()) == []
