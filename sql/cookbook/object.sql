-- Questions about things on the sky. A line "-- $name = value: meaning" is a parameter with its default.

-- name: new_objects
-- Which objects were seen for the first time in a night, brightest first?
-- $night = NULL: local night as YYYYMMDD; NULL is the last one
WITH first_seen AS (
    SELECT dia_object_id, min(night) AS night, arg_max(dia_source_id, abs(score)) AS best_dia_source_id
    FROM dia_association
    WHERE dia_object_id IS NOT NULL
    GROUP BY dia_object_id
)

SELECT
    dia_object_id,
    o.ra,
    o.dec,
    o.n_dia_source,
    s.band,
    s.score,
    ab_mag(abs(s.psf_flux_njy)) AS magnitude,
    s.is_negative
FROM first_seen
JOIN dia_object AS o USING (dia_object_id)
JOIN dia_source AS s ON s.dia_source_id = first_seen.best_dia_source_id
WHERE first_seen.night = coalesce($night, (SELECT max(visit.night) FROM visit))
ORDER BY abs(s.score) DESC, dia_object_id

-- name: light_curve
-- What did an object do in time, detected or not?
-- $dia_object_id: the object
SELECT
    band,
    midpoint_mjd_tai,
    psf_flux_njy,
    psf_flux_err_njy,
    psf_flux_njy / psf_flux_err_njy AS snr,
    ab_mag(total_flux_njy) AS total_magnitude,
    ab_mag_err(total_flux_njy, total_flux_err_njy) AS total_magnitude_err,
    detected,
    is_clean,
    visit
FROM light_curve_of($dia_object_id)
ORDER BY midpoint_mjd_tai, visit

-- name: around
-- Which detections are near a position, and which objects are they of?
-- $ra: [deg] ICRS right ascension
-- $dec: [deg] ICRS declination
-- $radius_arcsec = 60: [arcsec] radius
SELECT
    near.dia_source_id,
    link.dia_object_id,
    near.distance_arcsec,
    near.midpoint_mjd_tai,
    near.band,
    near.score,
    near.psf_flux_njy,
    near.psf_flux_err_njy
FROM cone_search($ra, $dec, $radius_arcsec) AS near
LEFT JOIN dia_association AS link USING (dia_source_id)
WHERE near.is_primary
ORDER BY near.distance_arcsec, near.midpoint_mjd_tai

-- name: rising
-- Which objects brighten now? A straight line is fitted to the fluxes of the last days of each band.
-- $within_day = 30: [d] length of time, up to the last visit
-- $min_sigma = 5: [] slope over its error, at least
-- $min_epoch = 3: [] measurements in the band, at least
WITH recent AS (
    SELECT dia_object_id, band, midpoint_mjd_tai AS t, psf_flux_njy AS flux, 1 / psf_flux_err_njy ** 2 AS w
    FROM light_curve
    WHERE is_clean
        AND midpoint_mjd_tai >= (SELECT max(visit.midpoint_mjd_tai) FROM visit) - $within_day
),

centered AS (
    SELECT *, t - sum(w * t) OVER one / sum(w) OVER one AS dt
    FROM recent
    WINDOW one AS (PARTITION BY dia_object_id, band)
),

line AS (
    SELECT
        dia_object_id,
        band,
        count(*) AS n_epoch,
        sum(w * dt * flux) / sum(w * dt * dt) AS slope_njy_per_day,
        1 / sqrt(sum(w * dt * dt)) AS slope_err_njy_per_day,
        arg_max(flux, t) AS last_flux_njy
    FROM centered
    GROUP BY dia_object_id, band
    HAVING count(*) >= $min_epoch AND sum(w * dt * dt) > 0
)

SELECT line.*, ab_mag(line.last_flux_njy) AS last_magnitude, o.ra, o.dec
FROM line
JOIN dia_object AS o USING (dia_object_id)
WHERE slope_njy_per_day > $min_sigma * slope_err_njy_per_day
ORDER BY slope_njy_per_day / slope_err_njy_per_day DESC, dia_object_id, band

-- name: repeated
-- Which objects were detected often?
-- $min_detection = 5: [] detections, at least
SELECT dia_object_id, ra, dec, n_dia_source, n_night, first_mjd_tai, last_mjd_tai, max_score, min_score
FROM dia_object
WHERE n_dia_source >= $min_detection
ORDER BY n_dia_source DESC, dia_object_id

-- name: variable
-- Which objects vary in two bands together? Stetson's J (1996 PASP 108 851) of the total flux: near 0 for noise alone.
-- $min_stetson_j = 2: [] J, at least
-- $within_day = 0.1: [d] measurements in two bands that are not further apart are a pair
WITH residual AS (
    SELECT
        dia_object_id,
        band,
        midpoint_mjd_tai AS t,
        sqrt(n / (n - 1)) * (psf_flux_njy - mean) / psf_flux_err_njy AS delta
    FROM (
        SELECT
            *,
            count(*) OVER one AS n,
            sum(psf_flux_njy / psf_flux_err_njy ** 2) OVER one / sum(1 / psf_flux_err_njy ** 2) OVER one AS mean
        FROM light_curve
        WHERE is_clean
        WINDOW one AS (PARTITION BY dia_object_id, band)
    )
    WHERE n > 1
),

product AS (
    SELECT dia_object_id, a.delta * b.delta AS p
    FROM residual AS a
    JOIN residual AS b USING (dia_object_id)
    WHERE a.band < b.band
        AND abs(a.t - b.t) <= $within_day
)

SELECT dia_object_id, o.ra, o.dec, count(*) AS n_pair, avg(sign(p) * sqrt(abs(p))) AS stetson_j, o.n_dia_source
FROM product
JOIN dia_object AS o USING (dia_object_id)
GROUP BY ALL
HAVING stetson_j >= $min_stetson_j
ORDER BY stetson_j DESC, dia_object_id

-- name: movers
-- What moved within a night, how fast and where to?
-- $night = NULL: local night as YYYYMMDD; NULL is every night
-- $max_arcsec_per_hour = 1000: [arcsec/h] speed, at most
SELECT
    tracklet.tracklet_id,
    tracklet.night,
    tracklet.n_dia_source,
    tracklet.ra,
    tracklet.dec,
    tracklet.rate_deg_per_day * 150 AS arcsec_per_hour,
    tracklet.angle_deg,
    tracklet.arc_h,
    min(ab_mag(s.psf_flux_njy)) AS magnitude,
    list(link.dia_source_id ORDER BY link.midpoint_mjd_tai) AS dia_source_ids
FROM tracklet
JOIN dia_association AS link USING (tracklet_id)
JOIN dia_source AS s USING (dia_source_id)
WHERE ($night IS NULL OR tracklet.night = $night)
    AND tracklet.rate_deg_per_day * 150 <= $max_arcsec_per_hour
GROUP BY ALL
ORDER BY tracklet.night, tracklet.tracklet_id

-- name: image_pairs
-- Which close pairs of objects both vary, as the images of a lensed quasar do?
-- $min_arcsec = 0.6: [arcsec] distance, at least
-- $max_arcsec = 3: [arcsec] distance, at most
-- $min_night = 2: [] nights in which each was detected, at least
WITH variable AS (
    SELECT dia_object_id, ra, dec, n_night, n_dia_source
    FROM dia_object
    WHERE n_night >= $min_night
)

SELECT
    a.dia_object_id,
    b.dia_object_id AS other_dia_object_id,
    a.ra,
    a.dec,
    separation_arcsec(a.ra, a.dec, b.ra, b.dec) AS distance_arcsec,
    a.n_dia_source,
    b.n_dia_source AS other_n_dia_source
FROM variable AS a
JOIN variable AS b
    ON b.dec BETWEEN a.dec - $max_arcsec / 3600 AND a.dec + $max_arcsec / 3600
    AND a.dia_object_id < b.dia_object_id
WHERE separation_arcsec(a.ra, a.dec, b.ra, b.dec) BETWEEN $min_arcsec AND $max_arcsec
ORDER BY distance_arcsec, a.dia_object_id

-- name: before_first_detection
-- How faint was an object before it was first detected? Upper limits at five sigma.
-- $dia_object_id: the object
SELECT
    forced.visit,
    forced.band,
    forced.midpoint_mjd_tai,
    forced.midpoint_mjd_tai - o.first_mjd_tai AS day_from_first,
    forced.psf_flux_njy,
    forced.psf_flux_err_njy,
    ab_mag(greatest(forced.psf_flux_njy, 0) + 5 * forced.psf_flux_err_njy) AS limit_magnitude
FROM light_curve AS forced
JOIN dia_object AS o USING (dia_object_id)
WHERE forced.dia_object_id = $dia_object_id
    AND forced.is_clean
    AND forced.midpoint_mjd_tai < o.first_mjd_tai
ORDER BY forced.midpoint_mjd_tai, forced.visit

-- name: color_at_peak
-- What color had each object when it was brightest? The difference flux at the peak in one band, and nearest to it in another.
-- $blue = g: bluer band
-- $red = r: redder band, in which the peak is
-- $within_day = 1: [d] time between the two, at most
-- $min_snr = 5: [] signal to noise of both, at least
WITH peak AS (
    SELECT *
    FROM light_curve
    WHERE band = $red
        AND is_clean
        AND psf_flux_njy >= $min_snr * psf_flux_err_njy
    QUALIFY row_number() OVER (PARTITION BY dia_object_id ORDER BY psf_flux_njy DESC, visit) = 1
),

pair AS (
    SELECT
        peak.dia_object_id,
        peak.midpoint_mjd_tai AS peak_mjd_tai,
        peak.psf_flux_njy AS red_flux,
        peak.psf_flux_err_njy AS red_err,
        blue.psf_flux_njy AS blue_flux,
        blue.psf_flux_err_njy AS blue_err
    FROM peak
    JOIN light_curve AS blue
        ON blue.dia_object_id = peak.dia_object_id
        AND blue.band = $blue
        AND blue.is_clean
        AND abs(blue.midpoint_mjd_tai - peak.midpoint_mjd_tai) <= $within_day
    QUALIFY row_number() OVER (
        PARTITION BY peak.dia_object_id ORDER BY abs(blue.midpoint_mjd_tai - peak.midpoint_mjd_tai), blue.visit
    ) = 1
)

SELECT
    dia_object_id,
    peak_mjd_tai,
    ab_mag(red_flux) AS red_magnitude,
    ab_mag(blue_flux) - ab_mag(red_flux) AS color,
    sqrt(ab_mag_err(blue_flux, blue_err) ** 2 + ab_mag_err(red_flux, red_err) ** 2) AS color_err
FROM pair
WHERE blue_flux >= $min_snr * blue_err
ORDER BY red_magnitude, dia_object_id

-- name: seen_once
-- What was bright once and never again, although the place was observed?
-- $min_score = 7: [] score of the one detection, at least
-- $min_epoch = 3: [] other measurements of the place, at least
SELECT
    dia_object_id,
    o.ra,
    o.dec,
    o.first_mjd_tai,
    o.max_score,
    count(*) AS n_other_epoch,
    max(forced.psf_flux_njy / forced.psf_flux_err_njy) AS highest_other_snr
FROM dia_object AS o
JOIN light_curve AS forced USING (dia_object_id)
WHERE o.n_dia_source = 1
    AND o.max_score >= $min_score
    AND forced.is_clean
    AND forced.midpoint_mjd_tai <> o.first_mjd_tai
GROUP BY ALL
HAVING count(*) >= $min_epoch
ORDER BY o.max_score DESC, dia_object_id

-- name: crossmatch
-- Which objects are near the positions of a list? Give it with --with targets=FILE: columns ra and dec [deg].
-- $radius_arcsec = 2: [arcsec] distance, at most
SELECT target.*, o.dia_object_id, separation_arcsec(target.ra, target.dec, o.ra, o.dec) AS distance_arcsec, o.n_dia_source
FROM targets AS target
JOIN dia_object AS o
    ON o.dec BETWEEN target.dec - $radius_arcsec / 3600 AND target.dec + $radius_arcsec / 3600
WHERE separation_arcsec(target.ra, target.dec, o.ra, o.dec) <= $radius_arcsec
ORDER BY target.ra, target.dec, distance_arcsec
