-- What was observed: exposures as they came from the camera.
CREATE TABLE band (band VARCHAR PRIMARY KEY);
COMMENT ON TABLE band IS 'Every filter name met so far';
COMMENT ON COLUMN band.band IS '[] filter name, any text';

CREATE TABLE detector (
    detector INTEGER PRIMARY KEY,
    name VARCHAR NOT NULL
);
COMMENT ON TABLE detector IS 'The sensors of the camera';
COMMENT ON COLUMN detector.detector IS '[] number, 0 to 255';
COMMENT ON COLUMN detector.name IS '[] name the camera gives it';

CREATE TABLE visit (
    visit BIGINT PRIMARY KEY,
    band VARCHAR NOT NULL REFERENCES band (band),
    instrument VARCHAR NOT NULL,
    midpoint_mjd_tai DOUBLE NOT NULL CHECK (isfinite(midpoint_mjd_tai)),
    exposure_s DOUBLE NOT NULL CHECK (isfinite(exposure_s)),
    airmass DOUBLE CHECK (isfinite(airmass)),
    night INTEGER NOT NULL
);
COMMENT ON TABLE visit IS 'One pointing of the camera: one shutter opening through one filter';
COMMENT ON COLUMN visit.visit IS '[] observation id, 0 to 2^41 - 1';
COMMENT ON COLUMN visit.band IS '[] filter';
COMMENT ON COLUMN visit.instrument IS '[] name in the instrument description';
COMMENT ON COLUMN visit.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN visit.exposure_s IS '[s] exposure time';
COMMENT ON COLUMN visit.airmass IS '[] airmass from the header; NULL where it has none';
COMMENT ON COLUMN visit.night IS '[] local night as YYYYMMDD: the date of midpoint minus 12 h at the site, or in UTC where the site is not described';

CREATE TABLE raw (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    path VARCHAR NOT NULL,
    sha256 VARCHAR NOT NULL,
    size_byte BIGINT NOT NULL,
    instrument_sha256 VARCHAR NOT NULL,
    nx INTEGER NOT NULL,
    ny INTEGER NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    radius_deg DOUBLE NOT NULL CHECK (isfinite(radius_deg)),
    pixel_scale_arcsec DOUBLE NOT NULL CHECK (isfinite(pixel_scale_arcsec)),
    gain_e_per_adu DOUBLE NOT NULL CHECK (isfinite(gain_e_per_adu)),
    read_noise_e DOUBLE NOT NULL CHECK (isfinite(read_noise_e)),
    saturation_e DOUBLE NOT NULL CHECK (isfinite(saturation_e)),
    sky_e DOUBLE NOT NULL CHECK (isfinite(sky_e)),
    n_bad_pix BIGINT NOT NULL
);
COMMENT ON TABLE raw IS 'Raw images that can be used; the refused ones are in unit with their reason';
COMMENT ON COLUMN raw.visit IS '[] observation id';
COMMENT ON COLUMN raw.detector IS '[] sensor';
COMMENT ON COLUMN raw.path IS '[] absolute path of the raw file, left where it is';
COMMENT ON COLUMN raw.sha256 IS '[] hash of the raw file';
COMMENT ON COLUMN raw.size_byte IS '[byte] its size';
COMMENT ON COLUMN raw.instrument_sha256 IS '[] hash of the instrument description it was read with';
COMMENT ON COLUMN raw.nx IS '[pix] width';
COMMENT ON COLUMN raw.ny IS '[pix] height';
COMMENT ON COLUMN raw.ra IS '[deg] ICRS right ascension of the centre by the header WCS';
COMMENT ON COLUMN raw.dec IS '[deg] ICRS declination of the centre by the header WCS';
COMMENT ON COLUMN raw.radius_deg IS '[deg] from the centre to the farthest corner';
COMMENT ON COLUMN raw.pixel_scale_arcsec IS '[arcsec] pixel size at the centre';
COMMENT ON COLUMN raw.gain_e_per_adu IS '[electron/adu] gain';
COMMENT ON COLUMN raw.read_noise_e IS '[electron] read noise';
COMMENT ON COLUMN raw.saturation_e IS '[electron] saturation level';
COMMENT ON COLUMN raw.sky_e IS '[electron] median pixel value';
COMMENT ON COLUMN raw.n_bad_pix IS '[pix] pixels with no usable value (NaN, infinite or a bad value of the description)';
