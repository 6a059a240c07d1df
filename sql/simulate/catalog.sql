-- The rows of a made-up catalog: everything that the commands look at, with one empty file in the place of all images.
-- `planned` holds the visits: visit, night, midpoint_mjd_tai, band, ra, dec.

-- name: bands
INSERT INTO band SELECT unnest($bands)

-- name: detectors
INSERT INTO detector VALUES ($detector, 'whole focal plane')

-- name: visits
INSERT INTO visit BY NAME
SELECT visit, band, 'simulated catalog' AS instrument, midpoint_mjd_tai, 30.0 AS exposure_s, night
FROM planned
ORDER BY visit

-- name: raws
INSERT INTO raw BY NAME
SELECT
    visit,
    $detector AS detector,
    $raw_path AS path,
    $sha256 AS sha256,
    0 AS size_byte,
    '' AS instrument_sha256,
    $size_pix AS nx,
    $size_pix AS ny,
    ra,
    dec,
    $radius_deg AS radius_deg,
    $pixel_scale_arcsec AS pixel_scale_arcsec,
    1.0 AS gain_e_per_adu,
    10.0 AS read_noise_e,
    100000.0 AS saturation_e,
    1000.0 AS sky_e,
    0 AS n_bad_pix
FROM planned
ORDER BY visit

-- name: calexps
INSERT INTO calexp BY NAME
SELECT
    visit,
    $detector AS detector,
    $path AS path,
    $sha256 AS sha256,
    $size_pix AS nx,
    $size_pix AS ny,
    '' AS wcs,
    ra,
    dec,
    [ra + side, ra - side, ra - side, ra + side] AS corner_ra,
    [dec - $radius_deg, dec - $radius_deg, dec + $radius_deg, dec + $radius_deg] AS corner_dec,
    $pixel_scale_arcsec AS pixel_scale_arcsec,
    4.0 AS psf_fwhm_pix,
    0.8 AS psf_fwhm_arcsec,
    4.0 AS psf_fwhm_det_pix,
    0.0 AS psf_e1,
    0.0 AS psf_e2,
    36.0 AS psf_effective_area_pix,
    2 AS psf_order,
    1000 AS n_psf_star,
    1000.0 AS sky_e,
    33.0 AS sky_noise_e,
    12.0 AS aperture_radius_pix,
    1.0 AS aperture_correction,
    1.0 AS njy_per_e,
    0.001 AS njy_per_e_err,
    31.4 AS zero_point_mag,
    0.01 AS zero_point_scatter_mag,
    1000 AS n_zero_point_star,
    24.0 AS depth_5sigma_mag,
    0.02 AS astrom_rms_arcsec,
    1000 AS n_astrom_star,
    3 AS sip_order,
    0.1 AS wcs_offset_arcsec,
    0.0 AS wcs_rotation_deg,
    0 AS n_source,
    0.01 AS fraction_masked,
    0 AS n_cosmic_ray_pix,
    0 AS n_saturated_pix
FROM (SELECT *, $radius_deg / cos(radians(dec)) AS side FROM planned)
ORDER BY visit

-- name: residuals
INSERT INTO calexp_residual BY NAME
SELECT
    visit,
    $detector AS detector,
    0.02 AS astrom_held_out_rms_arcsec,
    0 AS n_total_flux_star,
    false AS color_term_is_applied,
    0 AS n_color_star,
    0 AS n_refraction_star,
    0 AS n_aperture_star
FROM planned
ORDER BY visit

-- name: tracts
INSERT INTO tract VALUES (0, 0.0, 0.0, $pixel_scale_arcsec, $size_pix)

-- name: patches
INSERT INTO patch VALUES (0, 0, 0, 0, 0, 0, $size_pix, $size_pix, 0.0, 0.0)

-- name: overlaps
INSERT INTO patch_overlap SELECT 0, 0, visit, $detector FROM planned ORDER BY visit

-- name: templates
INSERT INTO template BY NAME
SELECT
    list_position($bands, band) AS template_id,
    0 AS tract,
    band,
    1 AS version,
    'simulated' AS how,
    4.0 AS target_fwhm_pix,
    0 AS n_input,
    $run_id AS run_id
FROM band

-- name: coadds
INSERT INTO coadd
SELECT template_id, 0, 0, $path, $sha256, 0, 0.0, 1.0, 0.0, 10.0 FROM template

-- name: diffims
INSERT INTO diffim BY NAME
SELECT
    visit,
    $detector AS detector,
    template_id,
    $path AS path,
    $sha256 AS sha256,
    'template' AS convolved,
    false AS leave_one_out,
    0 AS n_template_input,
    1.0 AS template_coverage,
    4.0 AS template_fwhm_pix,
    4.0 AS science_fwhm_pix,
    '' AS kernel_sigma_pix,
    '' AS kernel_degree,
    2 AS kernel_order,
    1 AS background_order,
    21 AS kernel_size_pix,
    1.0 AS kernel_sum,
    0.0 AS kernel_sum_scatter,
    1000 AS n_kernel_star,
    0 AS n_kernel_star_clipped,
    1.0 AS fit_chi2,
    0 AS n_control_star,
    33.0 AS science_noise_e,
    10.0 AS template_noise_e,
    35.0 AS diff_noise_e,
    1.0 AS score_std,
    0.0 AS lag1_correlation,
    36.0 AS psf_effective_area_pix,
    1.0 AS njy_per_e,
    23.9 AS depth_5sigma_mag,
    0.01 AS fraction_masked
FROM planned
JOIN template USING (band)
ORDER BY visit

-- name: files
INSERT INTO file VALUES ($path, 'calexp', 'ingest', $unit_key, $sha256, 0)

-- name: dia_sources
-- Detections of some visits in their order, with what is the same for all of them.
SELECT
    made.*,
    $detector AS detector,
    list_position($bands, band) AS template_id,
    0.0 AS ra_dec_cov,
    ra_err * 3600 / $pixel_scale_arcsec AS x_err,
    dec_err * 3600 / $pixel_scale_arcsec AS y_err,
    0.0 AS xy_cov,
    49 AS psf_n_pix,
    2 * psf_flux_err_njy AS aperture_flux_err_njy,
    psf_flux_err_njy AS science_flux_err_njy,
    10.0 AS template_flux_err_njy,
    0.12 AS ixx_arcsec2,
    0.12 AS iyy_arcsec2,
    0.0 AS ixy_arcsec2,
    false AS flag_bad,
    false AS flag_no_template,
    false AS flag_fit_failed,
    false AS flag_streak,
    false AS flag_trail
FROM made
