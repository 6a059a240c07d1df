"""The stages, each a pure function on one unit of work.

Ingest, calibrate, skymap, warp, coadd, difference, detect, forced and inject. `dbpipe.stage` says what a stage is.
"""
