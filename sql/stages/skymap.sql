-- name: work
-- Tract 0, as soon as there is a calibrated exposure; the hash of the footprints says when one came or moved.
SELECT
    0 AS tract,
    count(*) AS n_calexp,
    sha256(string_agg(
        concat_ws(' ', visit, detector, corner_ra, corner_dec, pixel_scale_arcsec), ',' ORDER BY visit, detector
    )) AS footprint_sha256
FROM calexp
HAVING count(*) > 0

-- name: footprints
-- The outline of every calibrated exposure.
SELECT visit, detector, corner_ra, corner_dec, pixel_scale_arcsec
FROM calexp
ORDER BY visit, detector

-- name: tracts
-- The tract, if it has been made: it never moves.
SELECT tract, ra, dec, pixel_scale_arcsec, patch_size_pix
FROM tract
WHERE tract = $tract
