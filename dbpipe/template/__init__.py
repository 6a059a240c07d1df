"""Which exposures make the template: a decision, kept as rows.

`contract` (what the stage declares), `due` (what is to be decided), `choice` (proposing, deciding), `decision` (what it
says), `cuts`, `depth`; `stage` is how a run decides.

Tests: contract, cuts, decision, due, stage in tests/template/test_choice.py.
"""
