"""The commands as the help page knows them."""

import inspect

import pytest
from typer.testing import CliRunner

from dbpipe.cli.app import GROUPS, Command, app

COMMANDS = [(heading, name) for heading, names in GROUPS.items() for name in names]


@pytest.mark.parametrize(("heading", "name"), COMMANDS, ids=[name for _, name in COMMANDS])
def test_the_help_page_says_what_the_command_says(heading, name):
    """What the page has of a command is the beginning of its own text, and the command is where the page says."""
    command = Command(name, heading)
    said = inspect.cleandoc(command.function.load().__doc__).split("\n\n")[0]
    assert command.help == " ".join(said.split())
    assert command.whole.name == name


def test_a_command_that_is_not_there_is_named():
    """A slip of the keyboard is wrong usage, and the page has all commands."""
    wrong, page = (CliRunner().invoke(app, [word]) for word in ("stauts", "--help"))
    assert wrong.exit_code == 2 and "stauts" in wrong.output
    assert all(name in page.output for _, name in COMMANDS)
