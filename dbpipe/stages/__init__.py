"""The stages, each a pure function on one unit of work; `dbpipe.stage` says what a stage is.

`ingest`, `calibrate`, `skymap`, `warp`, `coadd`, `difference`, `detect`, `forced`, `inject`; `shared` is what more than
one of them does.
"""
