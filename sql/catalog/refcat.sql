-- name: raw_of_visit
-- The raw images of a visit with what describes them; the first one serves as reference.
SELECT raw.*, visit.band, visit.instrument, visit.midpoint_mjd_tai, visit.exposure_s, visit.airmass, visit.night
FROM raw JOIN visit USING (visit)
WHERE raw.visit = $visit
ORDER BY raw.detector
