-- What the light curve of each object is like in each band, from the clean rows of the forced photometry.
CREATE OR REPLACE VIEW dia_object_band AS
WITH epoch AS NOT MATERIALIZED (
    -- read twice, so that a condition on the object reaches the table; clean as in light_curve
    SELECT
        dia_object_id,
        band,
        midpoint_mjd_tai,
        CASE
            WHEN NOT is_spoiled(flag_edge, flag_saturated, flag_bad, flag_cosmic_ray, flag_streak, flag_no_template)
                THEN psf_flux_njy
        END AS flux,
        CASE WHEN flux IS NOT NULL THEN 1 / psf_flux_err_njy ** 2 END AS weight
    FROM dia_forced_source
),

average AS (
    SELECT
        dia_object_id,
        band,
        count(flux) AS n,
        sum(weight * flux) / sum(weight) AS flux_mean,
        sum(weight * midpoint_mjd_tai) / sum(weight) AS mjd_mean,
        max(midpoint_mjd_tai) FILTER (flux IS NOT NULL) > min(midpoint_mjd_tai) FILTER (flux IS NOT NULL) AS has_slope
    FROM epoch
    GROUP BY dia_object_id, band
),

residual AS (
    SELECT
        epoch.*,
        average.* EXCLUDE (dia_object_id, band),
        flux - flux_mean AS deviation,
        midpoint_mjd_tai - mjd_mean AS elapsed,
        -- P of Stetson 1996 PASP 108 851 for an observation that has no partner
        n / (n - 1) * weight * (flux - flux_mean) ** 2 - 1 AS stetson_p
    FROM epoch
    JOIN average USING (dia_object_id, band)
),

detection AS (
    SELECT dia_object_id, band, count(*) AS n_detected
    FROM dia_association
    JOIN visit USING (visit)
    GROUP BY dia_object_id, band
)

SELECT
    dia_object_id,
    band,
    count(*) AS n_image,
    n,
    coalesce(any_value(n_detected), 0) AS n_detected,
    min(midpoint_mjd_tai) FILTER (flux IS NOT NULL) AS first_mjd_tai,
    max(midpoint_mjd_tai) FILTER (flux IS NOT NULL) AS last_mjd_tai,
    avg(flux) AS psf_flux_mean_njy,
    stddev_samp(flux) / sqrt(n) AS psf_flux_mean_err_njy,
    flux_mean AS psf_flux_weighted_mean_njy,
    1 / sqrt(sum(weight)) AS psf_flux_weighted_mean_err_njy,
    stddev_samp(flux) AS psf_flux_sigma_njy,
    CASE WHEN n > 1 THEN sum(weight * deviation ** 2) END AS psf_flux_chi2,
    CASE WHEN n > 1 THEN avg(sign(stetson_p) * sqrt(abs(stetson_p))) END AS psf_flux_stetson_j,
    CASE WHEN has_slope THEN sum(weight * elapsed * deviation) / sum(weight * elapsed ** 2) END
        AS psf_flux_slope_njy_per_day,
    CASE WHEN has_slope THEN 1 / sqrt(sum(weight * elapsed ** 2)) END AS psf_flux_slope_err_njy_per_day,
    mad(flux) AS psf_flux_mad_njy,
    CASE WHEN n > 2 AND max(flux) > min(flux) THEN skewness(flux) END AS psf_flux_skew,
    min(flux) AS psf_flux_min_njy,
    quantile_cont(flux, 0.05) AS psf_flux_percentile_05_njy,
    quantile_cont(flux, 0.25) AS psf_flux_percentile_25_njy,
    median(flux) AS psf_flux_percentile_50_njy,
    quantile_cont(flux, 0.75) AS psf_flux_percentile_75_njy,
    quantile_cont(flux, 0.95) AS psf_flux_percentile_95_njy,
    max(flux) AS psf_flux_max_njy
FROM residual
LEFT JOIN detection USING (dia_object_id, band)
GROUP BY dia_object_id, band, n, flux_mean, has_slope;
COMMENT ON VIEW dia_object_band IS 'Statistics of the difference flux of each object in each band, from the clean rows of its forced photometry';
COMMENT ON COLUMN dia_object_band.dia_object_id IS '[] object';
COMMENT ON COLUMN dia_object_band.band IS '[] filter';
COMMENT ON COLUMN dia_object_band.n_image IS '[] images of the band that cover it';
COMMENT ON COLUMN dia_object_band.n IS '[] clean fluxes among them, from which all that follows is made';
COMMENT ON COLUMN dia_object_band.n_detected IS '[] its DIASources in the band';
COMMENT ON COLUMN dia_object_band.first_mjd_tai IS '[d] MJD TAI of the first clean flux';
COMMENT ON COLUMN dia_object_band.last_mjd_tai IS '[d] MJD TAI of the last one';
COMMENT ON COLUMN dia_object_band.psf_flux_mean_njy IS '[nJy] mean';
COMMENT ON COLUMN dia_object_band.psf_flux_mean_err_njy IS '[nJy] its standard error from the scatter; NULL for one flux';
COMMENT ON COLUMN dia_object_band.psf_flux_weighted_mean_njy IS '[nJy] mean weighted with the inverse variances';
COMMENT ON COLUMN dia_object_band.psf_flux_weighted_mean_err_njy IS '[nJy] its standard error from the errors';
COMMENT ON COLUMN dia_object_band.psf_flux_sigma_njy IS '[nJy] standard deviation, n - 1 in the denominator; NULL for one flux';
COMMENT ON COLUMN dia_object_band.psf_flux_chi2 IS '[] chi2 about the weighted mean, n - 1 degrees of freedom; NULL for one flux';
COMMENT ON COLUMN dia_object_band.psf_flux_stetson_j IS '[] J of Stetson 1996 PASP 108 851, every flux by itself, about the weighted mean; NULL for one flux';
COMMENT ON COLUMN dia_object_band.psf_flux_slope_njy_per_day IS '[nJy/d] slope of the weighted straight line; NULL if all is at one time';
COMMENT ON COLUMN dia_object_band.psf_flux_slope_err_njy_per_day IS '[nJy/d] its standard error from the errors';
COMMENT ON COLUMN dia_object_band.psf_flux_mad_njy IS '[nJy] median absolute deviation from the median, not scaled';
COMMENT ON COLUMN dia_object_band.psf_flux_skew IS '[] skewness, corrected for bias; NULL for fewer than three fluxes or equal ones';
COMMENT ON COLUMN dia_object_band.psf_flux_min_njy IS '[nJy] smallest flux';
COMMENT ON COLUMN dia_object_band.psf_flux_percentile_05_njy IS '[nJy] 5th percentile, interpolated';
COMMENT ON COLUMN dia_object_band.psf_flux_percentile_25_njy IS '[nJy] 25th percentile, interpolated';
COMMENT ON COLUMN dia_object_band.psf_flux_percentile_50_njy IS '[nJy] median';
COMMENT ON COLUMN dia_object_band.psf_flux_percentile_75_njy IS '[nJy] 75th percentile, interpolated';
COMMENT ON COLUMN dia_object_band.psf_flux_percentile_95_njy IS '[nJy] 95th percentile, interpolated';
COMMENT ON COLUMN dia_object_band.psf_flux_max_njy IS '[nJy] largest flux';
