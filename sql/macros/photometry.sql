-- Fluxes as magnitudes, and the night of a time.
CREATE OR REPLACE MACRO ab_mag(flux_njy) AS
    CASE WHEN flux_njy > 0 THEN 31.4 - 2.5 * log10(flux_njy) END;
COMMENT ON MACRO ab_mag IS '[mag] AB magnitude of a flux [nJy]; NULL unless it is positive';

CREATE OR REPLACE MACRO ab_mag_err(flux_njy, flux_err_njy) AS
    CASE WHEN flux_njy > 0 THEN 2.5 / ln(10) * flux_err_njy / flux_njy END;
COMMENT ON MACRO ab_mag_err IS '[mag] standard error of ab_mag, to first order: for fluxes above some 5 sigma';

-- UTC is 37 s behind TAI since 2017, and has been less before: that matters only seconds from local noon.
CREATE OR REPLACE MACRO night(mjd_tai, longitude_deg := 0) AS
    CAST(strftime(
        DATE '1858-11-17' + CAST(floor(mjd_tai - 37 / 86400 + longitude_deg / 360 - 0.5) AS INTEGER),
        '%Y%m%d'
    ) AS INTEGER);
COMMENT ON MACRO night IS '[] local night as YYYYMMDD of an MJD TAI at a longitude [deg], east positive: the date at its beginning';
