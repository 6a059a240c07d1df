"""The stages, each a pure function on one unit of work; `dbpipe.stage` says what a stage is.

`contracts` is what each of them declares, without what it does. That is in `ingest`, `calibrate`, `skymap`, `warp`,
`coadd`, `difference`, `detect`, `forced`, `inject`; `shared` is what more than one of them does.
"""
