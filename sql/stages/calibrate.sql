-- name: work
-- One row per raw image. The catalog's part says whether the stars have changed since: their number, and sums of
-- hashes, which do not depend on their order; the magnitudes of all bands, for they make colors.
WITH catalog AS (
    SELECT
        count(*) AS n_catalogue_star,
        CAST(coalesce(sum(hash(reference_id, ra, dec, epoch_mjd_tai, pm_ra_mas_per_yr, pm_dec_mas_per_yr)), 0) AS VARCHAR)
            AS catalogue_hash
    FROM reference_star
),
magnitudes AS (
    SELECT CAST(coalesce(sum(hash(reference_id, band, magnitude_ab, magnitude_err)), 0) AS VARCHAR) AS magnitude_hash
    FROM reference_magnitude
)
SELECT
    raw.visit,
    raw.detector,
    raw.path,
    raw.sha256,
    raw_content.made_from,
    visit.band,
    visit.midpoint_mjd_tai,
    visit_zenith.parallactic_angle_deg,
    raw.ra,
    raw.dec,
    raw.radius_deg,
    catalog.n_catalogue_star,
    catalog.catalogue_hash,
    magnitudes.magnitude_hash
FROM raw
LEFT JOIN raw_content USING (path, visit, detector)
JOIN visit ON visit.visit = raw.visit
LEFT JOIN visit_zenith ON visit_zenith.visit = raw.visit
CROSS JOIN catalog
CROSS JOIN magnitudes
ORDER BY raw.visit, raw.detector;

-- name: refcat
-- Reference stars within the radius of the image and 0.02 degrees more, for pointing errors and proper motion. The distance
-- is the haversine, which does not mind RA 0/360. Stars without a magnitude in the band still serve the astrometry.
WITH near AS (
    SELECT reference_id, ra, dec, epoch_mjd_tai, pm_ra_mas_per_yr, pm_dec_mas_per_yr
    FROM reference_star
    WHERE dec BETWEEN $dec - $radius_deg - 0.02 AND $dec + $radius_deg + 0.02
      AND pow(sin(radians(dec - $dec) / 2), 2)
          + cos(radians(dec)) * cos(radians($dec)) * pow(sin(radians(ra - $ra) / 2), 2)
          <= pow(sin(radians($radius_deg + 0.02) / 2), 2)
)
SELECT
    near.reference_id,
    any_value(near.ra) AS ra,
    any_value(near.dec) AS dec,
    any_value(near.epoch_mjd_tai) AS epoch_mjd_tai,
    any_value(near.pm_ra_mas_per_yr) AS pm_ra_mas_per_yr,
    any_value(near.pm_dec_mas_per_yr) AS pm_dec_mas_per_yr,
    list(reference_magnitude.band ORDER BY reference_magnitude.band)
        FILTER (reference_magnitude.band IS NOT NULL) AS bands,
    list(reference_magnitude.magnitude_ab ORDER BY reference_magnitude.band)
        FILTER (reference_magnitude.band IS NOT NULL) AS magnitudes_ab,
    any_value(reference_magnitude.magnitude_ab) FILTER (reference_magnitude.band = $band) AS magnitude_ab,
    any_value(reference_magnitude.magnitude_err) FILTER (reference_magnitude.band = $band) AS magnitude_err,
    min(reference_magnitude.magnitude_ab) AS brightest_magnitude_ab
FROM near
LEFT JOIN reference_magnitude USING (reference_id)
GROUP BY near.reference_id
ORDER BY near.reference_id;
