-- Questions about the survey: its sky, its nights, its images and where a row comes from.

-- name: density_map
-- How many clean detections are in each HEALPix pixel?
-- $healpix_order = 10: [] order of the pixels; 10 has a side of 3.4 arcmin
SELECT
    healpix(hpx29, $healpix_order) AS pixel,
    count(*) AS n_dia_source,
    count(*) FILTER (is_negative) AS n_negative,
    avg(ra) AS mean_ra,
    avg(dec) AS mean_dec
FROM dia_source_clean
GROUP BY pixel
ORDER BY n_dia_source DESC, pixel

-- name: nightly_quality
-- How good was each night in each band?
SELECT
    visit.night,
    visit.band,
    count(DISTINCT visit.visit) AS n_visit,
    median(calexp.psf_fwhm_arcsec) AS seeing_arcsec,
    median(calexp.depth_5sigma_mag) AS depth_mag,
    median(diffim.depth_5sigma_mag) AS difference_depth_mag,
    count(diffim.visit) AS n_difference_image
FROM visit
JOIN calexp USING (visit)
LEFT JOIN diffim USING (visit, detector)
GROUP BY visit.night, visit.band
ORDER BY visit.night, visit.band

-- name: cadence
-- How often was the sky observed in each band?
WITH gap AS (
    SELECT night, band, midpoint_mjd_tai, night_mjd - lag(night_mjd) OVER (PARTITION BY band ORDER BY night) AS gap_day
    FROM (
        SELECT night, band, min(midpoint_mjd_tai) AS midpoint_mjd_tai, floor(min(midpoint_mjd_tai) - 0.5) AS night_mjd
        FROM visit
        SEMI JOIN raw USING (visit)
        GROUP BY night, band
    )
),

counted AS (
    SELECT band, count(*) AS n_visit
    FROM visit
    SEMI JOIN raw USING (visit)
    GROUP BY band
)

SELECT
    band,
    any_value(n_visit) AS n_visit,
    count(*) AS n_night,
    min(midpoint_mjd_tai) AS first_mjd_tai,
    max(midpoint_mjd_tai) AS last_mjd_tai,
    median(gap_day) AS median_gap_day,
    max(gap_day) AS longest_gap_day
FROM gap
JOIN counted USING (band)
GROUP BY band
ORDER BY band

-- name: missing_images
-- Which raw images have no difference image, and why?
SELECT
    raw.visit,
    raw.detector,
    visit.band,
    visit.night,
    unit.stage,
    coalesce(unit.status::VARCHAR, 'not tried') AS status,
    unit.reason,
    raw.path
FROM raw
JOIN visit USING (visit)
ANTI JOIN diffim ON diffim.visit = raw.visit AND diffim.detector = raw.detector
LEFT JOIN unit
    ON unit.unit_key = image_key(raw.visit, raw.detector)
    AND unit.status <> 'done'
ORDER BY raw.visit, raw.detector

-- name: false_alarms
-- Do negative and positive detections balance? Noise makes as many of both; subtraction that fails makes dipoles and pairs.
-- $max_score = 7: [] only detections below this score: above it, most are real
SELECT
    visit.night,
    visit.band,
    count(DISTINCT (s.visit, s.detector)) AS n_image,
    count(*) FILTER (NOT s.is_negative) AS n_positive,
    count(*) FILTER (s.is_negative) AS n_negative,
    n_negative / nullif(n_positive, 0) AS negative_over_positive,
    count(*) FILTER (s.flag_dipole) AS n_dipole
FROM dia_source AS s
JOIN visit USING (visit)
WHERE s.is_primary
    AND abs(s.score) < $max_score
GROUP BY visit.night, visit.band
ORDER BY visit.night, visit.band

-- name: template_of
-- Which exposures made the template that a detection was found against?
-- $dia_source_id: the detection
SELECT
    input.template_visit,
    input.template_detector,
    input.weight,
    visit.night,
    visit.midpoint_mjd_tai - s.midpoint_mjd_tai AS day_from_source,
    calexp.psf_fwhm_arcsec,
    calexp.depth_5sigma_mag
FROM dia_source AS s
JOIN diffim_input AS input USING (visit, detector)
JOIN visit ON visit.visit = input.template_visit
LEFT JOIN calexp ON calexp.visit = input.template_visit AND calexp.detector = input.template_detector
WHERE s.dia_source_id = $dia_source_id
ORDER BY input.weight DESC, input.template_visit

-- name: provenance
-- From which files, with which code, was a detection made?
-- $dia_source_id: the detection
SELECT raw_path, raw_sha256, calexp_path, diffim_path, template_version, n_template_input, detect_run_id, code_version
FROM dia_source_provenance
WHERE dia_source_id = $dia_source_id

-- name: cost
-- What did each stage cost, and which part of all the work was it?
SELECT
    stage,
    count(*) FILTER (status = 'done') AS n_done,
    count(*) FILTER (status = 'failed') AS n_failed,
    sum(cpu_s) AS cpu_s,
    sum(cpu_s) / nullif(sum(sum(cpu_s)) OVER (), 0) AS part_of_all,
    quantile_cont(wall_s, 0.5) AS median_wall_s,
    max(wall_s) AS longest_wall_s,
    max(peak_rss_mib) AS peak_rss_mib
FROM unit
GROUP BY stage
ORDER BY cpu_s DESC, stage
