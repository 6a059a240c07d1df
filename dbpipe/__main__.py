"""The program: ``dbpipe``, or ``python -m dbpipe``."""

import signal


def main() -> None:
    """Run the command line; until it listens to signals, a request to stop ends it without a word."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    from dbpipe.cli import main as run  # loading it takes a moment

    run()


if __name__ == "__main__":
    main()
