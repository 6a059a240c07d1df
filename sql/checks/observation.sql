-- What was observed.

-- name: raw_is_unique
-- A visit and detector has one raw image.
SELECT visit, detector, count(*) AS n FROM raw GROUP BY visit, detector HAVING count(*) > 1

-- name: raw_on_the_sky
-- A raw image points to the sky.
SELECT visit, detector, ra, dec FROM raw WHERE ra < 0 OR ra >= 360 OR dec < -90 OR dec > 90

-- name: visit_time
-- An exposure has a positive length, after 1970 and not far in the future.
SELECT visit, midpoint_mjd_tai, exposure_s FROM visit
WHERE exposure_s <= 0 OR midpoint_mjd_tai < 40587 OR midpoint_mjd_tai > 88069

-- name: raw_noise
-- Gain, read noise and saturation make sense.
SELECT visit, detector, gain_e_per_adu, read_noise_e, saturation_e FROM raw
WHERE gain_e_per_adu <= 0 OR read_noise_e < 0 OR saturation_e <= 0

-- name: raw_note
-- There is nothing to be told of raw files that are used: no image left out, no header changed after its checksum.
-- warning
SELECT raw.visit, raw.detector, raw.path, raw_note.note FROM raw_note JOIN raw USING (path)
ORDER BY raw.visit, raw.detector, raw_note.note
