-- name: work
-- One row per calibrated exposure; there is one tract, number 0.
SELECT 0 AS tract, visit, detector, corner_ra, corner_dec
FROM calexp
ORDER BY visit, detector

-- name: footprints
-- The outline of every calibrated exposure, as long as there is no tract: it is made around them, and never moves.
SELECT visit, detector, corner_ra, corner_dec, pixel_scale_arcsec
FROM calexp
WHERE NOT EXISTS (SELECT 1 FROM tract WHERE tract = $tract)
ORDER BY visit, detector

-- name: tracts
-- The tract, if it has been made.
SELECT tract, ra, dec, pixel_scale_arcsec, patch_size_pix
FROM tract
WHERE tract = $tract
