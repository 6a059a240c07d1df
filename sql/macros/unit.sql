-- How the key of a unit of work is written: here for SQL, in format_key of dbpipe/catalog/work/units.py for Python; a test
-- holds the two together.
CREATE OR REPLACE MACRO image_key(visit, detector) AS
    concat('visit=', visit, ',detector=', detector);
COMMENT ON MACRO image_key IS '[] unit_key of one image, in every stage that works on single images';

CREATE OR REPLACE MACRO raw_key(path) AS
    concat('path=', path);
COMMENT ON MACRO raw_key IS '[] unit_key of a raw file, in ingest';

CREATE OR REPLACE MACRO template_key(tract, band) AS
    concat('tract=', tract, ',band=', band);
COMMENT ON MACRO template_key IS '[] unit_key of the template of a band';
