"""A reader that opens a survey again and again: python reader_of_bands.py SURVEY, until its input is closed."""

import sys
import threading

import dbpipe

if __name__ == "__main__":
    stop = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
    while not stop.is_set():
        with dbpipe.open(sys.argv[1]) as survey:
            survey.sql("SELECT band FROM band").fetchall()
