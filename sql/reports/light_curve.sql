-- What `dbpipe lightcurve` asks.

-- name: object
-- An object by its id.
SELECT dia_object_id, ra, dec, n_dia_source, n_night, first_mjd_tai, last_mjd_tai
FROM dia_object
WHERE dia_object_id = $dia_object_id

-- name: successors
-- What an id that is no more has become, by the newest entry on it.
SELECT change::VARCHAR AS change, successor_id
FROM dia_object_history
WHERE dia_object_id = $dia_object_id
QUALIFY run_id = max(run_id) OVER ()
ORDER BY successor_id

-- name: nearest_ids
-- Objects whose ids are next to a number.
SELECT dia_object_id
FROM dia_object
ORDER BY abs(dia_object_id - $dia_object_id), dia_object_id
LIMIT 3

-- name: nearest_objects
-- Objects next to a direction.
SELECT
    dia_object_id,
    3600 * degrees(2 * asin(least(1, sqrt(
        (cos(radians(dec)) * cos(radians(ra)) - cos(radians($dec)) * cos(radians($ra))) ** 2
        + (cos(radians(dec)) * sin(radians(ra)) - cos(radians($dec)) * sin(radians($ra))) ** 2
        + (sin(radians(dec)) - sin(radians($dec))) ** 2
    ) / 2))) AS separation_arcsec
FROM dia_object
ORDER BY separation_arcsec, dia_object_id
LIMIT 3

-- name: light_curve
-- Every epoch of an object, in time.
SELECT *
FROM light_curve
WHERE dia_object_id = $dia_object_id
ORDER BY midpoint_mjd_tai, visit, detector

-- name: bands
-- Its statistics in each band.
SELECT *
FROM dia_object_band
WHERE dia_object_id = $dia_object_id
ORDER BY band

-- name: images
-- The images to cut out of, each with the noise of blank sky.
SELECT visit, detector, diffim.path, science_noise_e, diff_noise_e
FROM diffim
JOIN dia_forced_source USING (visit, detector)
WHERE dia_object_id = $dia_object_id
ORDER BY visit, detector
