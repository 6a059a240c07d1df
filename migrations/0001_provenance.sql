-- What ran, on what, with which result. The runner alone writes these tables.
CREATE TYPE unit_status AS ENUM ('done', 'skipped', 'failed');

CREATE TABLE run (
    run_id BIGINT PRIMARY KEY,
    started_at TIMESTAMP NOT NULL,
    finished_at TIMESTAMP,
    command VARCHAR NOT NULL,
    versions JSON NOT NULL,
    settings JSON NOT NULL
);
COMMENT ON TABLE run IS 'One row per command that worked on the survey';
COMMENT ON COLUMN run.run_id IS '[] running number of the command';
COMMENT ON COLUMN run.started_at IS '[UTC] when the command started';
COMMENT ON COLUMN run.finished_at IS '[UTC] when it ended; NULL while it runs or if it was killed';
COMMENT ON COLUMN run.command IS '[] the command line';
COMMENT ON COLUMN run.versions IS '[] versions of dbpipe, Python and the libraries that compute';
COMMENT ON COLUMN run.settings IS '[] every setting in force';

CREATE TABLE unit (
    stage VARCHAR NOT NULL,
    unit_key VARCHAR NOT NULL,
    fingerprint VARCHAR NOT NULL,
    status unit_status NOT NULL,
    reason VARCHAR,
    numbers JSON,
    stage_version INTEGER NOT NULL,
    run_id BIGINT NOT NULL,
    n_pix BIGINT,
    wall_s DOUBLE NOT NULL CHECK (isfinite(wall_s)),
    cpu_s DOUBLE NOT NULL CHECK (isfinite(cpu_s)),
    peak_rss_mib DOUBLE NOT NULL CHECK (isfinite(peak_rss_mib)),
    finished_at TIMESTAMP NOT NULL,
    PRIMARY KEY (stage, unit_key)
);
COMMENT ON TABLE unit IS 'The last verdict on every unit of work';
COMMENT ON COLUMN unit.stage IS '[] stage that worked on it';
COMMENT ON COLUMN unit.unit_key IS '[] key of the unit: its key columns as name=value, joined by commas';
COMMENT ON COLUMN unit.fingerprint IS '[] sha256 of the work row, the settings and the stage version';
COMMENT ON COLUMN unit.status IS '[] done, skipped (nothing to do) or failed (input refused)';
COMMENT ON COLUMN unit.reason IS '[] why it was skipped or failed; NULL when done';
COMMENT ON COLUMN unit.numbers IS '[] the numbers behind the reason';
COMMENT ON COLUMN unit.stage_version IS '[] version of the stage code';
COMMENT ON COLUMN unit.run_id IS '[] the run that did it';
COMMENT ON COLUMN unit.n_pix IS '[pix] pixels processed, where it means something';
COMMENT ON COLUMN unit.wall_s IS '[s] wall clock time of the worker';
COMMENT ON COLUMN unit.cpu_s IS '[s] CPU time of the worker, user and system';
COMMENT ON COLUMN unit.peak_rss_mib IS '[MiB] largest resident memory of the worker process so far';
COMMENT ON COLUMN unit.finished_at IS '[UTC] when it was committed';

CREATE TABLE file (
    path VARCHAR PRIMARY KEY,
    product VARCHAR NOT NULL,
    stage VARCHAR NOT NULL,
    unit_key VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size_byte BIGINT NOT NULL
);
COMMENT ON TABLE file IS 'Every file the survey owns; a file under files/ that is not listed is garbage';
COMMENT ON COLUMN file.path IS '[] path relative to the survey';
COMMENT ON COLUMN file.product IS '[] kind of product: calexp, warp, coadd, diffim';
COMMENT ON COLUMN file.stage IS '[] stage that wrote it';
COMMENT ON COLUMN file.unit_key IS '[] unit that wrote it';
COMMENT ON COLUMN file.sha256 IS '[] hash of its bytes';
COMMENT ON COLUMN file.size_byte IS '[byte] its size';
