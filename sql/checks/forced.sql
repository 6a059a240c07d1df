-- Forced photometry.

-- name: forced_source_has_image
-- Every forced flux belongs to a difference image whose forced photometry is on record, with as many rows as that says.
SELECT visit, detector, forced_image.n_object, count(dia_object_id) AS n_row
FROM forced_image
FULL JOIN dia_forced_source USING (visit, detector)
GROUP BY visit, detector, forced_image.n_object
HAVING n_row IS DISTINCT FROM forced_image.n_object

-- name: forced_image_has_diffim
-- Forced photometry is of a difference image that is there.
SELECT visit, detector FROM forced_image ANTI JOIN diffim USING (visit, detector)

-- name: forced_once
-- An object is measured once on an image.
SELECT dia_object_id, visit, detector, count(*) AS n
FROM dia_forced_source
GROUP BY dia_object_id, visit, detector
HAVING n > 1

-- name: forced_error_is_positive
-- A forced flux has a positive error, and none without a flux.
SELECT dia_object_id, visit, detector
FROM dia_forced_source
WHERE psf_flux_err_njy <= 0 OR (psf_flux_njy IS NULL) <> (psf_flux_err_njy IS NULL)

-- name: forced_object_is_there
-- Every object with forced fluxes is among the objects of now: if not, `dbpipe run` was ended before it was through.
-- warning
SELECT DISTINCT dia_object_id FROM dia_forced_source ANTI JOIN dia_object USING (dia_object_id)
