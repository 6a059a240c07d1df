-- Of which kind a failure is, how often it was met, and what a program error left behind.
CREATE TYPE failure_kind AS ENUM ('data', 'transient', 'bug', 'died', 'time_limit', 'memory_limit');

CREATE TABLE unit_failure (
    stage VARCHAR NOT NULL,
    unit_key VARCHAR NOT NULL,
    kind failure_kind NOT NULL,
    n_attempt INTEGER NOT NULL,
    traceback VARCHAR,
    PRIMARY KEY (stage, unit_key)
);
COMMENT ON TABLE unit_failure IS 'One row for each unit whose last verdict is failed';
COMMENT ON COLUMN unit_failure.stage IS '[] stage that worked on it';
COMMENT ON COLUMN unit_failure.unit_key IS '[] key of the unit, as in the table unit';
COMMENT ON COLUMN unit_failure.kind IS '[] data (input refused), transient (not possible now, tried again by the next run), bug (an error that nobody foresaw), died (its worker process did), time_limit or memory_limit';
COMMENT ON COLUMN unit_failure.n_attempt IS '[] runs in a row that failed on this unit as it is now';
COMMENT ON COLUMN unit_failure.traceback IS '[] where in the program the error arose; NULL if the verdict says all';

INSERT INTO unit_failure
SELECT stage, unit_key, CASE WHEN reason = 'worker died' THEN 'died' ELSE 'data' END::failure_kind, 1, NULL
FROM unit
WHERE status = 'failed';
