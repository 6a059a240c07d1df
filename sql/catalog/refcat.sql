-- name: raw_of_visit
-- The raw images of a visit with what describes them; the first one serves as reference.
SELECT raw.*, visit.band, visit.instrument, visit.midpoint_mjd_tai, visit.exposure_s, visit.airmass, visit.night
FROM raw JOIN visit USING (visit)
WHERE raw.visit = $visit
ORDER BY raw.detector

-- name: uncovered
-- How many of some exposures have no star of the catalog in their field.
WITH field AS (SELECT ra, dec, radius_deg FROM raw ORDER BY visit, detector LIMIT 50)
SELECT
    count(*) AS n_field,
    count(*) FILTER (
        NOT EXISTS (
            SELECT 1
            FROM reference_star AS star
            WHERE abs(star.dec - field.dec) <= field.radius_deg
                AND separation_arcsec(star.ra, star.dec, field.ra, field.dec) <= 3600 * field.radius_deg
        )
    ) AS n_uncovered
FROM field;

-- name: fields
-- Where the exposures are, for a catalog that does not say in which unit its positions are.
SELECT DISTINCT ra, dec, radius_deg
FROM raw
ORDER BY ra, dec, radius_deg

-- name: forget_reference_star
-- Make room for other stars.
DELETE FROM reference_star

-- name: forget_reference_magnitude
-- And for their magnitudes.
DELETE FROM reference_magnitude
