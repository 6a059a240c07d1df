"""Which exposures make the template: a decision, kept as rows.

`contract` (what the stage declares), `choice` (proposing, deciding), `decision` (what it says), `cuts`, `depth`;
`stage` is how a run decides.

Tests: contract, cuts, decision, stage in tests/template/test_choice.py.
"""
