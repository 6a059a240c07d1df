"""Which exposures make the template: a decision, kept as rows.

`choice` (proposing, deciding), `decision` (its settings, what it says), `cuts`, `depth`; `stage` is how a run decides.

Tests: cuts, decision, stage in tests/template/test_choice.py.
"""

from dbpipe.template.stage import TEMPLATE

__all__ = ["TEMPLATE"]
