-- name: raw_of_visit
-- The raw images of a visit with what describes them; the first one serves as reference.
SELECT raw.*, visit.band, visit.instrument, visit.midpoint_mjd_tai, visit.exposure_s, visit.airmass, visit.night
FROM raw JOIN visit USING (visit)
WHERE raw.visit = $visit
ORDER BY raw.detector

-- name: fields
-- Where the exposures are, for a catalogue that does not say in which unit its positions are.
SELECT DISTINCT ra, dec, radius_deg
FROM raw
ORDER BY ra, dec, radius_deg
