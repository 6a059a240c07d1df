-- DIAObjects under the names and units of LSST's alert production database; columns that dbpipe does not measure are
-- absent. psfFlux and scienceFlux are those of the detections, fpFlux that of every clean forced measurement. Bands with
-- another name than u, g, r, i, z or y have no column here: see dia_object_band.
CREATE OR REPLACE VIEW DiaObject AS
WITH detection AS (
    SELECT
        link.dia_object_id,
        s.band,
        s.psf_flux_njy,
        s.psf_flux_err_njy,
        s.science_flux_njy,
        s.science_flux_err_njy,
        (s.psf_flux_njy - lag(s.psf_flux_njy) OVER in_time)
        / nullif(s.midpoint_mjd_tai - lag(s.midpoint_mjd_tai) OVER in_time, 0) AS slope_njy_d
    FROM dia_association AS link
    JOIN dia_source AS s USING (dia_source_id)
    WHERE link.dia_object_id IS NOT NULL
        AND s.psf_flux_err_njy > 0
    WINDOW in_time AS (PARTITION BY link.dia_object_id, s.band ORDER BY s.midpoint_mjd_tai, s.dia_source_id)
),

detected AS (
    SELECT
        dia_object_id,
        band,
        sum(psf_flux_njy / psf_flux_err_njy ** 2) / sum(1 / psf_flux_err_njy ** 2) AS psf_flux_mean,
        1 / sqrt(sum(1 / psf_flux_err_njy ** 2)) AS psf_flux_mean_err,
        stddev_samp(psf_flux_njy) AS psf_flux_sigma,
        count(*) AS psf_flux_n,
        min(psf_flux_njy) AS psf_flux_min,
        max(psf_flux_njy) AS psf_flux_max,
        max(slope_njy_d) AS psf_flux_max_slope,
        avg(psf_flux_err_njy) AS psf_flux_err_mean,
        sum(science_flux_njy / science_flux_err_njy ** 2) FILTER (science_flux_err_njy > 0)
        / sum(1 / science_flux_err_njy ** 2) FILTER (science_flux_err_njy > 0 AND science_flux_njy IS NOT NULL)
            AS science_flux_mean,
        1 / sqrt(sum(1 / science_flux_err_njy ** 2)
            FILTER (science_flux_err_njy > 0 AND science_flux_njy IS NOT NULL)) AS science_flux_mean_err
    FROM detection
    GROUP BY dia_object_id, band
),

forced AS (
    SELECT
        dia_object_id,
        band,
        psf_flux_weighted_mean_njy AS fp_flux_mean,
        psf_flux_weighted_mean_err_njy AS fp_flux_mean_err
    FROM dia_object_band
),

in_bands AS (
    SELECT
        dia_object_id,
        CAST(any_value(psf_flux_mean) FILTER (band = 'u') AS FLOAT) AS u_psfFluxMean,
        CAST(any_value(psf_flux_mean_err) FILTER (band = 'u') AS FLOAT) AS u_psfFluxMeanErr,
        CAST(any_value(psf_flux_sigma) FILTER (band = 'u') AS FLOAT) AS u_psfFluxSigma,
        CAST(any_value(psf_flux_n) FILTER (band = 'u') AS INTEGER) AS u_psfFluxNdata,
        CAST(any_value(psf_flux_min) FILTER (band = 'u') AS FLOAT) AS u_psfFluxMin,
        CAST(any_value(psf_flux_max) FILTER (band = 'u') AS FLOAT) AS u_psfFluxMax,
        CAST(any_value(psf_flux_max_slope) FILTER (band = 'u') AS FLOAT) AS u_psfFluxMaxSlope,
        CAST(any_value(psf_flux_err_mean) FILTER (band = 'u') AS FLOAT) AS u_psfFluxErrMean,
        CAST(any_value(science_flux_mean) FILTER (band = 'u') AS FLOAT) AS u_scienceFluxMean,
        CAST(any_value(science_flux_mean_err) FILTER (band = 'u') AS FLOAT) AS u_scienceFluxMeanErr,
        CAST(any_value(fp_flux_mean) FILTER (band = 'u') AS FLOAT) AS u_fpFluxMean,
        CAST(any_value(fp_flux_mean_err) FILTER (band = 'u') AS FLOAT) AS u_fpFluxMeanErr,
        CAST(any_value(psf_flux_mean) FILTER (band = 'g') AS FLOAT) AS g_psfFluxMean,
        CAST(any_value(psf_flux_mean_err) FILTER (band = 'g') AS FLOAT) AS g_psfFluxMeanErr,
        CAST(any_value(psf_flux_sigma) FILTER (band = 'g') AS FLOAT) AS g_psfFluxSigma,
        CAST(any_value(psf_flux_n) FILTER (band = 'g') AS INTEGER) AS g_psfFluxNdata,
        CAST(any_value(psf_flux_min) FILTER (band = 'g') AS FLOAT) AS g_psfFluxMin,
        CAST(any_value(psf_flux_max) FILTER (band = 'g') AS FLOAT) AS g_psfFluxMax,
        CAST(any_value(psf_flux_max_slope) FILTER (band = 'g') AS FLOAT) AS g_psfFluxMaxSlope,
        CAST(any_value(psf_flux_err_mean) FILTER (band = 'g') AS FLOAT) AS g_psfFluxErrMean,
        CAST(any_value(science_flux_mean) FILTER (band = 'g') AS FLOAT) AS g_scienceFluxMean,
        CAST(any_value(science_flux_mean_err) FILTER (band = 'g') AS FLOAT) AS g_scienceFluxMeanErr,
        CAST(any_value(fp_flux_mean) FILTER (band = 'g') AS FLOAT) AS g_fpFluxMean,
        CAST(any_value(fp_flux_mean_err) FILTER (band = 'g') AS FLOAT) AS g_fpFluxMeanErr,
        CAST(any_value(psf_flux_mean) FILTER (band = 'r') AS FLOAT) AS r_psfFluxMean,
        CAST(any_value(psf_flux_mean_err) FILTER (band = 'r') AS FLOAT) AS r_psfFluxMeanErr,
        CAST(any_value(psf_flux_sigma) FILTER (band = 'r') AS FLOAT) AS r_psfFluxSigma,
        CAST(any_value(psf_flux_n) FILTER (band = 'r') AS INTEGER) AS r_psfFluxNdata,
        CAST(any_value(psf_flux_min) FILTER (band = 'r') AS FLOAT) AS r_psfFluxMin,
        CAST(any_value(psf_flux_max) FILTER (band = 'r') AS FLOAT) AS r_psfFluxMax,
        CAST(any_value(psf_flux_max_slope) FILTER (band = 'r') AS FLOAT) AS r_psfFluxMaxSlope,
        CAST(any_value(psf_flux_err_mean) FILTER (band = 'r') AS FLOAT) AS r_psfFluxErrMean,
        CAST(any_value(science_flux_mean) FILTER (band = 'r') AS FLOAT) AS r_scienceFluxMean,
        CAST(any_value(science_flux_mean_err) FILTER (band = 'r') AS FLOAT) AS r_scienceFluxMeanErr,
        CAST(any_value(fp_flux_mean) FILTER (band = 'r') AS FLOAT) AS r_fpFluxMean,
        CAST(any_value(fp_flux_mean_err) FILTER (band = 'r') AS FLOAT) AS r_fpFluxMeanErr,
        CAST(any_value(psf_flux_mean) FILTER (band = 'i') AS FLOAT) AS i_psfFluxMean,
        CAST(any_value(psf_flux_mean_err) FILTER (band = 'i') AS FLOAT) AS i_psfFluxMeanErr,
        CAST(any_value(psf_flux_sigma) FILTER (band = 'i') AS FLOAT) AS i_psfFluxSigma,
        CAST(any_value(psf_flux_n) FILTER (band = 'i') AS INTEGER) AS i_psfFluxNdata,
        CAST(any_value(psf_flux_min) FILTER (band = 'i') AS FLOAT) AS i_psfFluxMin,
        CAST(any_value(psf_flux_max) FILTER (band = 'i') AS FLOAT) AS i_psfFluxMax,
        CAST(any_value(psf_flux_max_slope) FILTER (band = 'i') AS FLOAT) AS i_psfFluxMaxSlope,
        CAST(any_value(psf_flux_err_mean) FILTER (band = 'i') AS FLOAT) AS i_psfFluxErrMean,
        CAST(any_value(science_flux_mean) FILTER (band = 'i') AS FLOAT) AS i_scienceFluxMean,
        CAST(any_value(science_flux_mean_err) FILTER (band = 'i') AS FLOAT) AS i_scienceFluxMeanErr,
        CAST(any_value(fp_flux_mean) FILTER (band = 'i') AS FLOAT) AS i_fpFluxMean,
        CAST(any_value(fp_flux_mean_err) FILTER (band = 'i') AS FLOAT) AS i_fpFluxMeanErr,
        CAST(any_value(psf_flux_mean) FILTER (band = 'z') AS FLOAT) AS z_psfFluxMean,
        CAST(any_value(psf_flux_mean_err) FILTER (band = 'z') AS FLOAT) AS z_psfFluxMeanErr,
        CAST(any_value(psf_flux_sigma) FILTER (band = 'z') AS FLOAT) AS z_psfFluxSigma,
        CAST(any_value(psf_flux_n) FILTER (band = 'z') AS INTEGER) AS z_psfFluxNdata,
        CAST(any_value(psf_flux_min) FILTER (band = 'z') AS FLOAT) AS z_psfFluxMin,
        CAST(any_value(psf_flux_max) FILTER (band = 'z') AS FLOAT) AS z_psfFluxMax,
        CAST(any_value(psf_flux_max_slope) FILTER (band = 'z') AS FLOAT) AS z_psfFluxMaxSlope,
        CAST(any_value(psf_flux_err_mean) FILTER (band = 'z') AS FLOAT) AS z_psfFluxErrMean,
        CAST(any_value(science_flux_mean) FILTER (band = 'z') AS FLOAT) AS z_scienceFluxMean,
        CAST(any_value(science_flux_mean_err) FILTER (band = 'z') AS FLOAT) AS z_scienceFluxMeanErr,
        CAST(any_value(fp_flux_mean) FILTER (band = 'z') AS FLOAT) AS z_fpFluxMean,
        CAST(any_value(fp_flux_mean_err) FILTER (band = 'z') AS FLOAT) AS z_fpFluxMeanErr,
        CAST(any_value(psf_flux_mean) FILTER (band = 'y') AS FLOAT) AS y_psfFluxMean,
        CAST(any_value(psf_flux_mean_err) FILTER (band = 'y') AS FLOAT) AS y_psfFluxMeanErr,
        CAST(any_value(psf_flux_sigma) FILTER (band = 'y') AS FLOAT) AS y_psfFluxSigma,
        CAST(any_value(psf_flux_n) FILTER (band = 'y') AS INTEGER) AS y_psfFluxNdata,
        CAST(any_value(psf_flux_min) FILTER (band = 'y') AS FLOAT) AS y_psfFluxMin,
        CAST(any_value(psf_flux_max) FILTER (band = 'y') AS FLOAT) AS y_psfFluxMax,
        CAST(any_value(psf_flux_max_slope) FILTER (band = 'y') AS FLOAT) AS y_psfFluxMaxSlope,
        CAST(any_value(psf_flux_err_mean) FILTER (band = 'y') AS FLOAT) AS y_psfFluxErrMean,
        CAST(any_value(science_flux_mean) FILTER (band = 'y') AS FLOAT) AS y_scienceFluxMean,
        CAST(any_value(science_flux_mean_err) FILTER (band = 'y') AS FLOAT) AS y_scienceFluxMeanErr,
        CAST(any_value(fp_flux_mean) FILTER (band = 'y') AS FLOAT) AS y_fpFluxMean,
        CAST(any_value(fp_flux_mean_err) FILTER (band = 'y') AS FLOAT) AS y_fpFluxMeanErr
    FROM detected
    FULL JOIN forced USING (dia_object_id, band)
    GROUP BY dia_object_id
)

SELECT
    CAST(o.dia_object_id AS BIGINT) AS diaObjectId,
    CAST(o.ra AS DOUBLE) AS ra,
    CAST(o.ra_err AS FLOAT) AS raErr,
    CAST(o.dec AS DOUBLE) AS dec,
    CAST(o.dec_err AS FLOAT) AS decErr,
    CAST(o.ra_dec_cov AS FLOAT) AS ra_dec_Cov,
    CAST(o.n_dia_source AS INTEGER) AS nDiaSources,
    CAST(o.first_mjd_tai AS DOUBLE) AS firstDiaSourceMjdTai,
    CAST(o.last_mjd_tai AS DOUBLE) AS lastDiaSourceMjdTai,
    in_bands.u_psfFluxMean,
    in_bands.u_psfFluxMeanErr,
    in_bands.u_psfFluxSigma,
    coalesce(in_bands.u_psfFluxNdata, 0) AS u_psfFluxNdata,
    in_bands.u_psfFluxMin,
    in_bands.u_psfFluxMax,
    in_bands.u_psfFluxMaxSlope,
    in_bands.u_psfFluxErrMean,
    in_bands.u_scienceFluxMean,
    in_bands.u_scienceFluxMeanErr,
    in_bands.u_fpFluxMean,
    in_bands.u_fpFluxMeanErr,
    in_bands.g_psfFluxMean,
    in_bands.g_psfFluxMeanErr,
    in_bands.g_psfFluxSigma,
    coalesce(in_bands.g_psfFluxNdata, 0) AS g_psfFluxNdata,
    in_bands.g_psfFluxMin,
    in_bands.g_psfFluxMax,
    in_bands.g_psfFluxMaxSlope,
    in_bands.g_psfFluxErrMean,
    in_bands.g_scienceFluxMean,
    in_bands.g_scienceFluxMeanErr,
    in_bands.g_fpFluxMean,
    in_bands.g_fpFluxMeanErr,
    in_bands.r_psfFluxMean,
    in_bands.r_psfFluxMeanErr,
    in_bands.r_psfFluxSigma,
    coalesce(in_bands.r_psfFluxNdata, 0) AS r_psfFluxNdata,
    in_bands.r_psfFluxMin,
    in_bands.r_psfFluxMax,
    in_bands.r_psfFluxMaxSlope,
    in_bands.r_psfFluxErrMean,
    in_bands.r_scienceFluxMean,
    in_bands.r_scienceFluxMeanErr,
    in_bands.r_fpFluxMean,
    in_bands.r_fpFluxMeanErr,
    in_bands.i_psfFluxMean,
    in_bands.i_psfFluxMeanErr,
    in_bands.i_psfFluxSigma,
    coalesce(in_bands.i_psfFluxNdata, 0) AS i_psfFluxNdata,
    in_bands.i_psfFluxMin,
    in_bands.i_psfFluxMax,
    in_bands.i_psfFluxMaxSlope,
    in_bands.i_psfFluxErrMean,
    in_bands.i_scienceFluxMean,
    in_bands.i_scienceFluxMeanErr,
    in_bands.i_fpFluxMean,
    in_bands.i_fpFluxMeanErr,
    in_bands.z_psfFluxMean,
    in_bands.z_psfFluxMeanErr,
    in_bands.z_psfFluxSigma,
    coalesce(in_bands.z_psfFluxNdata, 0) AS z_psfFluxNdata,
    in_bands.z_psfFluxMin,
    in_bands.z_psfFluxMax,
    in_bands.z_psfFluxMaxSlope,
    in_bands.z_psfFluxErrMean,
    in_bands.z_scienceFluxMean,
    in_bands.z_scienceFluxMeanErr,
    in_bands.z_fpFluxMean,
    in_bands.z_fpFluxMeanErr,
    in_bands.y_psfFluxMean,
    in_bands.y_psfFluxMeanErr,
    in_bands.y_psfFluxSigma,
    coalesce(in_bands.y_psfFluxNdata, 0) AS y_psfFluxNdata,
    in_bands.y_psfFluxMin,
    in_bands.y_psfFluxMax,
    in_bands.y_psfFluxMaxSlope,
    in_bands.y_psfFluxErrMean,
    in_bands.y_scienceFluxMean,
    in_bands.y_scienceFluxMeanErr,
    in_bands.y_fpFluxMean,
    in_bands.y_fpFluxMeanErr
FROM dia_object AS o
LEFT JOIN in_bands USING (dia_object_id);
COMMENT ON VIEW DiaObject IS 'DIAObjects with APDB names: one row per thing on the sky that was detected';
COMMENT ON COLUMN DiaObject.diaObjectId IS '[] id of its first DIASource in time';
COMMENT ON COLUMN DiaObject.ra IS '[deg] ICRS right ascension, mean weighted with the errors';
COMMENT ON COLUMN DiaObject.raErr IS '[deg] standard error of ra cos(dec)';
COMMENT ON COLUMN DiaObject.dec IS '[deg] ICRS declination, mean weighted with the errors';
COMMENT ON COLUMN DiaObject.decErr IS '[deg] standard error of dec';
COMMENT ON COLUMN DiaObject.ra_dec_Cov IS '[deg**2] covariance of ra cos(dec) and dec';
COMMENT ON COLUMN DiaObject.nDiaSources IS '[] DIASources linked to it';
COMMENT ON COLUMN DiaObject.firstDiaSourceMjdTai IS '[d] MJD TAI of its first DIASource';
COMMENT ON COLUMN DiaObject.lastDiaSourceMjdTai IS '[d] MJD TAI of its last DIASource';
COMMENT ON COLUMN DiaObject.u_psfFluxMean IS '[nJy] weighted mean of psfFlux over its DIASources in u';
COMMENT ON COLUMN DiaObject.u_psfFluxMeanErr IS '[nJy] standard error of u_psfFluxMean';
COMMENT ON COLUMN DiaObject.u_psfFluxSigma IS '[nJy] standard deviation of psfFlux over its DIASources in u';
COMMENT ON COLUMN DiaObject.u_psfFluxNdata IS '[] DIASources in u that have a psfFlux';
COMMENT ON COLUMN DiaObject.u_psfFluxMin IS '[nJy] smallest psfFlux of its DIASources in u';
COMMENT ON COLUMN DiaObject.u_psfFluxMax IS '[nJy] largest psfFlux of its DIASources in u';
COMMENT ON COLUMN DiaObject.u_psfFluxMaxSlope IS '[nJy/d] fastest rise of psfFlux between neighboring DIASources in u';
COMMENT ON COLUMN DiaObject.u_psfFluxErrMean IS '[nJy] mean psfFluxErr of its DIASources in u';
COMMENT ON COLUMN DiaObject.u_scienceFluxMean IS '[nJy] weighted mean of scienceFlux over its DIASources in u';
COMMENT ON COLUMN DiaObject.u_scienceFluxMeanErr IS '[nJy] standard error of u_scienceFluxMean';
COMMENT ON COLUMN DiaObject.u_fpFluxMean IS '[nJy] weighted mean of psfFlux over its DIAForcedSources in u, detected or not';
COMMENT ON COLUMN DiaObject.u_fpFluxMeanErr IS '[nJy] standard error of u_fpFluxMean';
COMMENT ON COLUMN DiaObject.g_psfFluxMean IS '[nJy] weighted mean of psfFlux over its DIASources in g';
COMMENT ON COLUMN DiaObject.g_psfFluxMeanErr IS '[nJy] standard error of g_psfFluxMean';
COMMENT ON COLUMN DiaObject.g_psfFluxSigma IS '[nJy] standard deviation of psfFlux over its DIASources in g';
COMMENT ON COLUMN DiaObject.g_psfFluxNdata IS '[] DIASources in g that have a psfFlux';
COMMENT ON COLUMN DiaObject.g_psfFluxMin IS '[nJy] smallest psfFlux of its DIASources in g';
COMMENT ON COLUMN DiaObject.g_psfFluxMax IS '[nJy] largest psfFlux of its DIASources in g';
COMMENT ON COLUMN DiaObject.g_psfFluxMaxSlope IS '[nJy/d] fastest rise of psfFlux between neighboring DIASources in g';
COMMENT ON COLUMN DiaObject.g_psfFluxErrMean IS '[nJy] mean psfFluxErr of its DIASources in g';
COMMENT ON COLUMN DiaObject.g_scienceFluxMean IS '[nJy] weighted mean of scienceFlux over its DIASources in g';
COMMENT ON COLUMN DiaObject.g_scienceFluxMeanErr IS '[nJy] standard error of g_scienceFluxMean';
COMMENT ON COLUMN DiaObject.g_fpFluxMean IS '[nJy] weighted mean of psfFlux over its DIAForcedSources in g, detected or not';
COMMENT ON COLUMN DiaObject.g_fpFluxMeanErr IS '[nJy] standard error of g_fpFluxMean';
COMMENT ON COLUMN DiaObject.r_psfFluxMean IS '[nJy] weighted mean of psfFlux over its DIASources in r';
COMMENT ON COLUMN DiaObject.r_psfFluxMeanErr IS '[nJy] standard error of r_psfFluxMean';
COMMENT ON COLUMN DiaObject.r_psfFluxSigma IS '[nJy] standard deviation of psfFlux over its DIASources in r';
COMMENT ON COLUMN DiaObject.r_psfFluxNdata IS '[] DIASources in r that have a psfFlux';
COMMENT ON COLUMN DiaObject.r_psfFluxMin IS '[nJy] smallest psfFlux of its DIASources in r';
COMMENT ON COLUMN DiaObject.r_psfFluxMax IS '[nJy] largest psfFlux of its DIASources in r';
COMMENT ON COLUMN DiaObject.r_psfFluxMaxSlope IS '[nJy/d] fastest rise of psfFlux between neighboring DIASources in r';
COMMENT ON COLUMN DiaObject.r_psfFluxErrMean IS '[nJy] mean psfFluxErr of its DIASources in r';
COMMENT ON COLUMN DiaObject.r_scienceFluxMean IS '[nJy] weighted mean of scienceFlux over its DIASources in r';
COMMENT ON COLUMN DiaObject.r_scienceFluxMeanErr IS '[nJy] standard error of r_scienceFluxMean';
COMMENT ON COLUMN DiaObject.r_fpFluxMean IS '[nJy] weighted mean of psfFlux over its DIAForcedSources in r, detected or not';
COMMENT ON COLUMN DiaObject.r_fpFluxMeanErr IS '[nJy] standard error of r_fpFluxMean';
COMMENT ON COLUMN DiaObject.i_psfFluxMean IS '[nJy] weighted mean of psfFlux over its DIASources in i';
COMMENT ON COLUMN DiaObject.i_psfFluxMeanErr IS '[nJy] standard error of i_psfFluxMean';
COMMENT ON COLUMN DiaObject.i_psfFluxSigma IS '[nJy] standard deviation of psfFlux over its DIASources in i';
COMMENT ON COLUMN DiaObject.i_psfFluxNdata IS '[] DIASources in i that have a psfFlux';
COMMENT ON COLUMN DiaObject.i_psfFluxMin IS '[nJy] smallest psfFlux of its DIASources in i';
COMMENT ON COLUMN DiaObject.i_psfFluxMax IS '[nJy] largest psfFlux of its DIASources in i';
COMMENT ON COLUMN DiaObject.i_psfFluxMaxSlope IS '[nJy/d] fastest rise of psfFlux between neighboring DIASources in i';
COMMENT ON COLUMN DiaObject.i_psfFluxErrMean IS '[nJy] mean psfFluxErr of its DIASources in i';
COMMENT ON COLUMN DiaObject.i_scienceFluxMean IS '[nJy] weighted mean of scienceFlux over its DIASources in i';
COMMENT ON COLUMN DiaObject.i_scienceFluxMeanErr IS '[nJy] standard error of i_scienceFluxMean';
COMMENT ON COLUMN DiaObject.i_fpFluxMean IS '[nJy] weighted mean of psfFlux over its DIAForcedSources in i, detected or not';
COMMENT ON COLUMN DiaObject.i_fpFluxMeanErr IS '[nJy] standard error of i_fpFluxMean';
COMMENT ON COLUMN DiaObject.z_psfFluxMean IS '[nJy] weighted mean of psfFlux over its DIASources in z';
COMMENT ON COLUMN DiaObject.z_psfFluxMeanErr IS '[nJy] standard error of z_psfFluxMean';
COMMENT ON COLUMN DiaObject.z_psfFluxSigma IS '[nJy] standard deviation of psfFlux over its DIASources in z';
COMMENT ON COLUMN DiaObject.z_psfFluxNdata IS '[] DIASources in z that have a psfFlux';
COMMENT ON COLUMN DiaObject.z_psfFluxMin IS '[nJy] smallest psfFlux of its DIASources in z';
COMMENT ON COLUMN DiaObject.z_psfFluxMax IS '[nJy] largest psfFlux of its DIASources in z';
COMMENT ON COLUMN DiaObject.z_psfFluxMaxSlope IS '[nJy/d] fastest rise of psfFlux between neighboring DIASources in z';
COMMENT ON COLUMN DiaObject.z_psfFluxErrMean IS '[nJy] mean psfFluxErr of its DIASources in z';
COMMENT ON COLUMN DiaObject.z_scienceFluxMean IS '[nJy] weighted mean of scienceFlux over its DIASources in z';
COMMENT ON COLUMN DiaObject.z_scienceFluxMeanErr IS '[nJy] standard error of z_scienceFluxMean';
COMMENT ON COLUMN DiaObject.z_fpFluxMean IS '[nJy] weighted mean of psfFlux over its DIAForcedSources in z, detected or not';
COMMENT ON COLUMN DiaObject.z_fpFluxMeanErr IS '[nJy] standard error of z_fpFluxMean';
COMMENT ON COLUMN DiaObject.y_psfFluxMean IS '[nJy] weighted mean of psfFlux over its DIASources in y';
COMMENT ON COLUMN DiaObject.y_psfFluxMeanErr IS '[nJy] standard error of y_psfFluxMean';
COMMENT ON COLUMN DiaObject.y_psfFluxSigma IS '[nJy] standard deviation of psfFlux over its DIASources in y';
COMMENT ON COLUMN DiaObject.y_psfFluxNdata IS '[] DIASources in y that have a psfFlux';
COMMENT ON COLUMN DiaObject.y_psfFluxMin IS '[nJy] smallest psfFlux of its DIASources in y';
COMMENT ON COLUMN DiaObject.y_psfFluxMax IS '[nJy] largest psfFlux of its DIASources in y';
COMMENT ON COLUMN DiaObject.y_psfFluxMaxSlope IS '[nJy/d] fastest rise of psfFlux between neighboring DIASources in y';
COMMENT ON COLUMN DiaObject.y_psfFluxErrMean IS '[nJy] mean psfFluxErr of its DIASources in y';
COMMENT ON COLUMN DiaObject.y_scienceFluxMean IS '[nJy] weighted mean of scienceFlux over its DIASources in y';
COMMENT ON COLUMN DiaObject.y_scienceFluxMeanErr IS '[nJy] standard error of y_scienceFluxMean';
COMMENT ON COLUMN DiaObject.y_fpFluxMean IS '[nJy] weighted mean of psfFlux over its DIAForcedSources in y, detected or not';
COMMENT ON COLUMN DiaObject.y_fpFluxMeanErr IS '[nJy] standard error of y_fpFluxMean';
