-- Light curves: every object on every image that covers it, with what was detected and what was subtracted.
CREATE OR REPLACE VIEW light_curve AS
WITH detection AS (
    -- an object that was split on one image counts with its strongest source
    SELECT dia_object_id, visit, detector, arg_max(dia_source_id, abs(score)) AS dia_source_id
    FROM dia_association
    GROUP BY dia_object_id, visit, detector
),

template_epoch AS (
    SELECT visit, detector, list_sort(list_distinct(list(template_visit))) AS template_visits
    FROM diffim_input
    GROUP BY visit, detector
)

SELECT
    forced.dia_object_id,
    forced.visit,
    forced.detector,
    forced.band,
    forced.midpoint_mjd_tai,
    forced.psf_flux_njy,
    forced.psf_flux_err_njy,
    -- the noise of the template is in both parts and cancels
    forced.psf_flux_njy + forced.template_flux_njy AS total_flux_njy,
    forced.science_flux_err_njy AS total_flux_err_njy,
    forced.science_flux_njy,
    forced.science_flux_err_njy,
    forced.template_flux_njy,
    forced.template_flux_err_njy,
    detection.dia_source_id IS NOT NULL AS detected,
    detection.dia_source_id,
    forced.psf_flux_njy IS NOT NULL
        -- what a star nearby leaves is in the error, and there is no shape: neither flag of a detection speaks against it
        AND NOT is_spoiled(
            forced.flag_edge,
            forced.flag_saturated,
            forced.flag_bad,
            forced.flag_cosmic_ray,
            forced.flag_streak,
            forced.flag_no_template
        ) AS is_clean,
    forced.n_blend,
    diffim.template_id,
    diffim.leave_one_out AS in_template,
    diffim.n_template_input,
    template_epoch.template_visits,
    forced.ra,
    forced.dec,
    forced.x,
    forced.y
FROM dia_forced_source AS forced
JOIN diffim USING (visit, detector)
LEFT JOIN template_epoch USING (visit, detector)
LEFT JOIN detection USING (dia_object_id, visit, detector);
COMMENT ON VIEW light_curve IS 'Forced photometry of each object on each image that covers it, detected or not, with the total flux and the template';
COMMENT ON COLUMN light_curve.dia_object_id IS '[] object';
COMMENT ON COLUMN light_curve.visit IS '[] observation id';
COMMENT ON COLUMN light_curve.detector IS '[] sensor';
COMMENT ON COLUMN light_curve.band IS '[] filter';
COMMENT ON COLUMN light_curve.midpoint_mjd_tai IS '[d] MJD TAI at mid-exposure';
COMMENT ON COLUMN light_curve.psf_flux_njy IS '[nJy] PSF flux on the difference; NULL if no pixel is usable';
COMMENT ON COLUMN light_curve.psf_flux_err_njy IS '[nJy] standard error of psf_flux_njy';
COMMENT ON COLUMN light_curve.total_flux_njy IS '[nJy] difference plus matched template: what variable and host have together within the PSF';
COMMENT ON COLUMN light_curve.total_flux_err_njy IS '[nJy] standard error of total_flux_njy: that of the science flux, for the noise of the template cancels; errors of PSF model and calibration, some tenths of a percent of the flux, are not in it';
COMMENT ON COLUMN light_curve.science_flux_njy IS '[nJy] PSF flux on the science image itself, another estimate of the total';
COMMENT ON COLUMN light_curve.science_flux_err_njy IS '[nJy] standard error of science_flux_njy';
COMMENT ON COLUMN light_curve.template_flux_njy IS '[nJy] PSF flux on the template matched to the science image';
COMMENT ON COLUMN light_curve.template_flux_err_njy IS '[nJy] standard error of template_flux_njy, of its sky noise alone';
COMMENT ON COLUMN light_curve.detected IS '[] a DIASource of this image is linked to the object';
COMMENT ON COLUMN light_curve.dia_source_id IS '[] that source; NULL if there is none';
COMMENT ON COLUMN light_curve.is_clean IS '[] there is a flux, and no flag of edge, saturation, bad pixel, streak, cosmic ray or missing template';
COMMENT ON COLUMN light_curve.n_blend IS '[] objects fitted together because they are close, this one included';
COMMENT ON COLUMN light_curve.template_id IS '[] template that was subtracted';
COMMENT ON COLUMN light_curve.in_template IS '[] this epoch is an input of that template; it was taken out of what was subtracted from itself';
COMMENT ON COLUMN light_curve.n_template_input IS '[] exposures in what was subtracted';
COMMENT ON COLUMN light_curve.template_visits IS '[] their visits, in order';
COMMENT ON COLUMN light_curve.ra IS '[deg] ICRS right ascension measured at';
COMMENT ON COLUMN light_curve.dec IS '[deg] ICRS declination measured at';
COMMENT ON COLUMN light_curve.x IS '[pix] where that is on the image, first pixel center is 0';
COMMENT ON COLUMN light_curve.y IS '[pix] where that is on the image, first pixel center is 0';
