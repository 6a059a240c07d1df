"""What one asks of a survey beyond plain SQL.

`light_curves` (which object is meant, its epochs, pieces of its images), `lookup` (the DIASources of one object, in a
catalog of any size), `provenance` (where a DIASource comes from), `completeness` (what injected sources say).
"""
