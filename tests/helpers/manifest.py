"""The manifest of a simulated survey."""

import json


def read_manifest(out):
    """Return what every file is, and what should become of it."""
    return json.loads((out / "truth" / "manifest.json").read_text())
