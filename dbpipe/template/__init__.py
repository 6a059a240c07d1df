"""Which exposures make the template.

`choice` (proposing, deciding), `decision` (its settings, what it says), `cuts`, `depth`.
"""
