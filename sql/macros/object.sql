-- One object: its light curve, and what became of its id.
CREATE OR REPLACE MACRO light_curve_of(object_id) AS TABLE
    SELECT l.*
    FROM light_curve AS l
    WHERE l.dia_object_id = object_id
    ORDER BY l.midpoint_mjd_tai, l.visit, l.detector;
COMMENT ON MACRO TABLE light_curve_of IS 'Rows of light_curve of one object, in time';

-- Ids lead on as long as the history knows a successor, also in circles: an object may get an old id back.
CREATE OR REPLACE MACRO resolve_object(object_id) AS TABLE
    WITH RECURSIVE heir (dia_object_id) AS (
        SELECT CAST(object_id AS BIGINT)
        UNION
        SELECT history.successor_id
        FROM heir
        JOIN dia_object_history AS history USING (dia_object_id)
        WHERE history.successor_id IS NOT NULL
    )

    SELECT o.*
    FROM dia_object AS o
    SEMI JOIN heir USING (dia_object_id)
    ORDER BY o.dia_object_id;
COMMENT ON MACRO TABLE resolve_object IS 'The objects of today that have sources of the object that had an id: none if it was withdrawn';
