-- Objects: which detections belong together. The tables are kept per piece of sky: what a visit touches is then in a few
-- small tables, however long the history is. The views dia_object and dia_association show them as one.
CREATE SCHEMA association;

CREATE TABLE association.source (
    dia_source_id BIGINT NOT NULL,
    visit BIGINT NOT NULL,
    detector INTEGER NOT NULL,
    night INTEGER NOT NULL,
    midpoint_mjd_tai DOUBLE NOT NULL CHECK (isfinite(midpoint_mjd_tai)),
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    ra_err DOUBLE NOT NULL CHECK (isfinite(ra_err)),
    dec_err DOUBLE NOT NULL CHECK (isfinite(dec_err)),
    ra_dec_cov DOUBLE NOT NULL CHECK (isfinite(ra_dec_cov)),
    hpx29 BIGINT NOT NULL,
    score DOUBLE NOT NULL CHECK (isfinite(score)),
    dia_object_id BIGINT,
    tracklet_id BIGINT
);
COMMENT ON TABLE association.source IS 'Pattern of the tables source_<tile>: the DIASources of one HEALPix tile of order 4 that are linked';
COMMENT ON COLUMN association.source.dia_source_id IS '[] packed from visit, detector and running number';
COMMENT ON COLUMN association.source.visit IS '[] observation id';
COMMENT ON COLUMN association.source.detector IS '[] sensor';
COMMENT ON COLUMN association.source.night IS '[] local night as YYYYMMDD';
COMMENT ON COLUMN association.source.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN association.source.ra IS '[deg] ICRS right ascension';
COMMENT ON COLUMN association.source.dec IS '[deg] ICRS declination';
COMMENT ON COLUMN association.source.ra_err IS '[deg] standard error of ra cos(dec)';
COMMENT ON COLUMN association.source.dec_err IS '[deg] standard error of dec';
COMMENT ON COLUMN association.source.ra_dec_cov IS '[deg2] covariance of ra cos(dec) and dec';
COMMENT ON COLUMN association.source.hpx29 IS '[] HEALPix index, nested, order 29';
COMMENT ON COLUMN association.source.score IS '[] signed signal to noise of the detection';
COMMENT ON COLUMN association.source.dia_object_id IS '[] object it belongs to; NULL for part of a track';
COMMENT ON COLUMN association.source.tracklet_id IS '[] track it belongs to; NULL for most';

CREATE TABLE association.object (
    dia_object_id BIGINT NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    ra_err DOUBLE NOT NULL CHECK (isfinite(ra_err)),
    dec_err DOUBLE NOT NULL CHECK (isfinite(dec_err)),
    ra_dec_cov DOUBLE NOT NULL CHECK (isfinite(ra_dec_cov)),
    hpx29 BIGINT NOT NULL,
    position_chi2 DOUBLE NOT NULL CHECK (isfinite(position_chi2)),
    n_dia_source INTEGER NOT NULL,
    n_night INTEGER NOT NULL,
    first_mjd_tai DOUBLE NOT NULL CHECK (isfinite(first_mjd_tai)),
    last_mjd_tai DOUBLE NOT NULL CHECK (isfinite(last_mjd_tai)),
    max_score DOUBLE NOT NULL CHECK (isfinite(max_score)),
    min_score DOUBLE NOT NULL CHECK (isfinite(min_score))
);
COMMENT ON TABLE association.object IS 'Pattern of the tables object_<tile>: the DIAObjects whose first source is in one HEALPix tile of order 4';
COMMENT ON COLUMN association.object.dia_object_id IS '[] id of its first source in time';
COMMENT ON COLUMN association.object.ra IS '[deg] ICRS right ascension, mean weighted with the errors';
COMMENT ON COLUMN association.object.dec IS '[deg] ICRS declination, mean weighted with the errors';
COMMENT ON COLUMN association.object.ra_err IS '[deg] standard error of ra cos(dec)';
COMMENT ON COLUMN association.object.dec_err IS '[deg] standard error of dec';
COMMENT ON COLUMN association.object.ra_dec_cov IS '[deg2] covariance of ra cos(dec) and dec';
COMMENT ON COLUMN association.object.hpx29 IS '[] HEALPix index of the position, nested, order 29';
COMMENT ON COLUMN association.object.position_chi2 IS '[] chi2 of its sources about the position, 2 (n - 1) degrees of freedom';
COMMENT ON COLUMN association.object.n_dia_source IS '[] number of linked sources';
COMMENT ON COLUMN association.object.n_night IS '[] nights in which it was detected';
COMMENT ON COLUMN association.object.first_mjd_tai IS '[d] MJD TAI of the first source';
COMMENT ON COLUMN association.object.last_mjd_tai IS '[d] MJD TAI of the last source';
COMMENT ON COLUMN association.object.max_score IS '[] largest signed score of its sources';
COMMENT ON COLUMN association.object.min_score IS '[] smallest signed score of its sources';

CREATE TABLE association.image (
    visit BIGINT NOT NULL,
    detector INTEGER NOT NULL,
    tiles INTEGER[] NOT NULL,
    n_source INTEGER NOT NULL,
    detect_fingerprint VARCHAR NOT NULL
);
COMMENT ON TABLE association.image IS 'Which tiles hold the linked sources of a detector image';
COMMENT ON COLUMN association.image.visit IS '[] observation id';
COMMENT ON COLUMN association.image.detector IS '[] sensor';
COMMENT ON COLUMN association.image.tiles IS '[] HEALPix indices, nested, order 4';
COMMENT ON COLUMN association.image.n_source IS '[] number of its sources that are linked';
COMMENT ON COLUMN association.image.detect_fingerprint IS '[] of the detect unit whose sources they are';

CREATE TYPE object_change AS ENUM ('renamed', 'merged', 'split', 'withdrawn');

CREATE TABLE dia_object_history (
    dia_object_id BIGINT NOT NULL,
    successor_id BIGINT,
    change object_change NOT NULL,
    run_id BIGINT NOT NULL,
    changed_at TIMESTAMP NOT NULL
);
COMMENT ON TABLE dia_object_history IS 'What became of an object whose sources were grouped anew by a later ingest';
COMMENT ON COLUMN dia_object_history.dia_object_id IS '[] the id of before';
COMMENT ON COLUMN dia_object_history.successor_id IS '[] an object that has sources of it now; NULL if none has';
COMMENT ON COLUMN dia_object_history.change IS '[] renamed (an earlier source was found), merged (into another one), split (some of its sources are another object now) or withdrawn (its sources are gone, or are a track)';
COMMENT ON COLUMN dia_object_history.run_id IS '[] the run that changed it';
COMMENT ON COLUMN dia_object_history.changed_at IS '[UTC] when';

CREATE TABLE tracklet (
    tracklet_id BIGINT NOT NULL,
    night INTEGER NOT NULL,
    n_dia_source INTEGER NOT NULL,
    reference_mjd_tai DOUBLE NOT NULL CHECK (isfinite(reference_mjd_tai)),
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    ra_rate_deg_per_day DOUBLE NOT NULL CHECK (isfinite(ra_rate_deg_per_day)),
    dec_rate_deg_per_day DOUBLE NOT NULL CHECK (isfinite(dec_rate_deg_per_day)),
    rate_deg_per_day DOUBLE NOT NULL CHECK (isfinite(rate_deg_per_day)),
    angle_deg DOUBLE NOT NULL CHECK (isfinite(angle_deg)),
    arc_h DOUBLE NOT NULL CHECK (isfinite(arc_h)),
    chi2 DOUBLE NOT NULL CHECK (isfinite(chi2))
);
COMMENT ON TABLE tracklet IS 'Detections of one night that move along a line at constant speed';
COMMENT ON COLUMN tracklet.tracklet_id IS '[] id of its first source in time';
COMMENT ON COLUMN tracklet.night IS '[] local night as YYYYMMDD';
COMMENT ON COLUMN tracklet.n_dia_source IS '[] number of its sources';
COMMENT ON COLUMN tracklet.reference_mjd_tai IS '[d] MJD TAI of the position, the mean of its sources';
COMMENT ON COLUMN tracklet.ra IS '[deg] ICRS right ascension at that time';
COMMENT ON COLUMN tracklet.dec IS '[deg] ICRS declination at that time';
COMMENT ON COLUMN tracklet.ra_rate_deg_per_day IS '[deg/d] rate of ra cos(dec)';
COMMENT ON COLUMN tracklet.dec_rate_deg_per_day IS '[deg/d] rate of dec';
COMMENT ON COLUMN tracklet.rate_deg_per_day IS '[deg/d] speed';
COMMENT ON COLUMN tracklet.angle_deg IS '[deg] direction of motion, from north to east';
COMMENT ON COLUMN tracklet.arc_h IS '[h] time from first to last source';
COMMENT ON COLUMN tracklet.chi2 IS '[] chi2 of the straight line, 2 n - 4 degrees of freedom';

-- Made anew, over all tiles and with comments, whenever a tile is added.
CREATE VIEW dia_association AS SELECT * FROM association.source;
CREATE VIEW dia_object AS SELECT * FROM association.object;
