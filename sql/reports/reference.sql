-- What `dbpipe refcat` says of the reference catalog.

-- name: bands
-- Stars with a magnitude, by band.
SELECT band, count(*) AS n_star
FROM reference_magnitude
GROUP BY band
ORDER BY band

-- name: motion
-- Stars whose proper motion is known, and those of them that can be moved.
SELECT
    count(pm_ra_mas_per_yr + pm_dec_mas_per_yr) AS n_known,
    count(epoch_mjd_tai) FILTER (pm_ra_mas_per_yr + pm_dec_mas_per_yr IS NOT NULL) AS n_moved
FROM reference_star

-- name: sky
-- Where they are.
SELECT min(ra) AS ra_min, max(ra) AS ra_max, min(dec) AS dec_min, max(dec) AS dec_max
FROM reference_star
