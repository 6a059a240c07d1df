-- Forced photometry under the names and units of LSST's alert production database. Rows have no id of their own:
-- diaObjectId, visit and detector name one.
CREATE OR REPLACE VIEW DiaForcedSource AS
SELECT
    CAST(dia_object_id AS BIGINT) AS diaObjectId,
    CAST(ra AS DOUBLE) AS ra,
    CAST(dec AS DOUBLE) AS dec,
    CAST(visit AS BIGINT) AS visit,
    CAST(detector AS SMALLINT) AS detector,
    CAST(psf_flux_njy AS FLOAT) AS psfFlux,
    CAST(psf_flux_err_njy AS FLOAT) AS psfFluxErr,
    CAST(midpoint_mjd_tai AS DOUBLE) AS midpointMjdTai,
    CAST(science_flux_njy AS FLOAT) AS scienceFlux,
    CAST(science_flux_err_njy AS FLOAT) AS scienceFluxErr,
    CAST(band AS VARCHAR) AS band
FROM dia_forced_source;
COMMENT ON VIEW DiaForcedSource IS 'Forced photometry with APDB names: one row per object and difference image that covers it';
COMMENT ON COLUMN DiaForcedSource.diaObjectId IS '[] object';
COMMENT ON COLUMN DiaForcedSource.ra IS '[deg] ICRS right ascension at which the flux was measured';
COMMENT ON COLUMN DiaForcedSource.dec IS '[deg] ICRS declination at which the flux was measured';
COMMENT ON COLUMN DiaForcedSource.visit IS '[] observation id';
COMMENT ON COLUMN DiaForcedSource.detector IS '[] sensor';
COMMENT ON COLUMN DiaForcedSource.psfFlux IS '[nJy] PSF flux on the difference';
COMMENT ON COLUMN DiaForcedSource.psfFluxErr IS '[nJy] standard error of psfFlux';
COMMENT ON COLUMN DiaForcedSource.midpointMjdTai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN DiaForcedSource.scienceFlux IS '[nJy] PSF flux on the science image';
COMMENT ON COLUMN DiaForcedSource.scienceFluxErr IS '[nJy] standard error of scienceFlux';
COMMENT ON COLUMN DiaForcedSource.band IS '[] filter';
