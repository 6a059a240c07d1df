"""What workers are asked to do in the tests of the pool; a module of its own, which workers can import."""

import os
import resource
import time
from pathlib import Path


def square(x, delay_s=0.0):
    """Take some time."""
    time.sleep(delay_s)
    return x * x


def crash(how):
    """Die in one of the ways of compiled code."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.kill(os.getpid(), how)
    time.sleep(60.0)


def leave(code):
    """Leave the process, as a library might."""
    os._exit(code)


def write_and_die(name):
    """Die while a product is being written."""
    for path in (f"files/warp/.tmp-{os.getpid()}-{name}", f"files/warp/.tmp-{os.getpid()}-notes.txt"):
        Path(path).touch()
    os._exit(1)


def hang():
    """Hold the interpreter for ever, as compiled code can: no signal handler and no thread of Python gets a turn."""
    text = "a" * 40
    import re

    return re.match(r"(a|a)*b", text)


def grow(mib):
    """Hold so much memory."""
    block = bytearray(mib << 20)
    for start in range(0, len(block), 4096):
        block[start] = 1
    time.sleep(60.0)


def refuse(message):
    """Raise what cannot be sent as it is."""

    class Local(Exception):
        pass

    raise Local(message)
