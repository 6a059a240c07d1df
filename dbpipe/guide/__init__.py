"""The guide: pages of Markdown, in the order in which one reads them; `dbpipe guide` shows them."""

from importlib.resources import files

from dbpipe.errors import ConfigError
from dbpipe.names import did_you_mean_or_all

PAGES = (
    "quick-start", "camera", "nights", "template", "light-curves", "sql", "quality", "scaling", "how-it-works",
    "twinkles", "hotpants", "results", "limits", "refusals", "contributing",
)  # fmt: skip


def read_page(name: str) -> str:
    """Return the text of a page.

    Raises
    ------
    ConfigError
        If there is none of this name; it names the nearest.
    """
    if name not in PAGES:
        raise ConfigError(f"the guide has no page {name}{did_you_mean_or_all(name, PAGES)}")
    return (files("dbpipe") / "guide" / f"{name}.md").read_text(encoding="utf-8")


def title(name: str) -> str:
    """Return the heading of a page."""
    return read_page(name).partition("\n")[0].removeprefix("# ")
