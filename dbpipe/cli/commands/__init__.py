"""The commands, a file for each kind; `dbpipe.cli.app` has them in the order of the help page."""
