"""The command that explains: guide."""

from typing import Annotated

import typer

from dbpipe import guide as pages
from dbpipe.cli.terminal.console import console, print_table


def guide(
    page: Annotated[str | None, typer.Argument(metavar="[PAGE]", help="Which page; all are listed by default.")] = None,
) -> None:
    """Show a page of the guide, or what pages there are.

    dbpipe guide quick-start
    """
    if page is None:
        print_table(("page", "about"), [(name, pages.title(name)) for name in pages.PAGES])
    elif console().is_terminal:
        from rich.markdown import Markdown

        console().print(Markdown(pages.read_page(page)))
    else:
        print(pages.read_page(page), end="")
