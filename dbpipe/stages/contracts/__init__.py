"""What the stages declare, each in a module of its name: settings, work row, version, tables and named inputs.

`ingest`, `calibrate`, `skymap`, `warp`, `coadd`, `difference`, `detect`, `forced`, `inject`; `units` are the work rows.
Nothing here calculates, nor loads what does: who asks a survey what is to be done needs no pixel code. What a stage
does is only named, and loaded where a unit is first worked on (`dbpipe.later.Later`).

Tests: units in tests/stages/test_units.py; calibrate, coadd, detect, difference, forced, ingest, inject, skymap, warp
in tests/stages/test_contracts.py.
"""
