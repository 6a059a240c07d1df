-- name: work
-- One row per difference image, with the circle around it, the number of objects inside and a hash of which they are and
-- at which pixel of order 23 each is measured: an image whose objects stay where they are is not due. Images and objects
-- meet in cubes as wide as the largest circle: on unit vectors, so there is no seam and no pole. Number and hash of the
-- objects in a cell, a cube 64 times narrower, are made once for all images; only those of cells that the rim of a circle
-- may cross are looked at one by one.
WITH corner AS (
    SELECT
        visit,
        detector,
        ra,
        dec,
        unnest(corner_ra) AS corner_ra,
        unnest(corner_dec) AS corner_dec
    FROM calexp
),

circle AS (
    -- distances are chords; five thousandths of a thousandth are an arcsecond
    SELECT
        visit,
        detector,
        ra AS circle_ra,
        dec AS circle_dec,
        cos(radians(dec)) * cos(radians(ra)) AS ux,
        cos(radians(dec)) * sin(radians(ra)) AS uy,
        sin(radians(dec)) AS uz,
        5e-6 + max(sqrt(
            (cos(radians(corner_dec)) * cos(radians(corner_ra)) - cos(radians(dec)) * cos(radians(ra))) ** 2
            + (cos(radians(corner_dec)) * sin(radians(corner_ra)) - cos(radians(dec)) * sin(radians(ra))) ** 2
            + (sin(radians(corner_dec)) - sin(radians(dec))) ** 2
        )) AS circle_chord
    FROM corner
    GROUP BY visit, detector, ra, dec
),

grid AS (SELECT max(circle_chord) / 32 AS side FROM circle),

object AS (
    SELECT
        cos(radians(dec)) * cos(radians(ra)) AS ux,
        cos(radians(dec)) * sin(radians(ra)) AS uy,
        sin(radians(dec)) AS uz,
        floor(ux / side)::BIGINT AS cell_x,
        floor(uy / side)::BIGINT AS cell_y,
        floor(uz / side)::BIGINT AS cell_z,
        md5_number_lower(concat(dia_object_id, ' ', hpx29 >> 12)) AS place_hash
    FROM dia_object
    CROSS JOIN grid
),

cell AS (
    SELECT
        cell_x,
        cell_y,
        cell_z,
        floor(cell_x / 64.0)::BIGINT AS cube_x,
        floor(cell_y / 64.0)::BIGINT AS cube_y,
        floor(cell_z / 64.0)::BIGINT AS cube_z,
        count(*) AS n_object,
        bit_xor(place_hash) AS place_hash
    FROM object
    GROUP BY cell_x, cell_y, cell_z
),

cube AS (
    SELECT DISTINCT
        circle.*,
        side,
        floor((ux + along_x * circle_chord) / (64 * side))::BIGINT AS cube_x,
        floor((uy + along_y * circle_chord) / (64 * side))::BIGINT AS cube_y,
        floor((uz + along_z * circle_chord) / (64 * side))::BIGINT AS cube_z
    FROM circle
    CROSS JOIN grid
    CROSS JOIN (VALUES (-1), (1)) AS x (along_x)
    CROSS JOIN (VALUES (-1), (1)) AS y (along_y)
    CROSS JOIN (VALUES (-1), (1)) AS z (along_z)
),

near AS (
    -- reach: from the center of a cell to its corners, and what rounding may add
    SELECT
        cube.* EXCLUDE (cube_x, cube_y, cube_z, side),
        cell.* EXCLUDE (cube_x, cube_y, cube_z),
        side * sqrt(0.75) + 1e-12 AS reach,
        sqrt(((cell_x + 0.5) * side - ux) ** 2 + ((cell_y + 0.5) * side - uy) ** 2 + ((cell_z + 0.5) * side - uz) ** 2)
            AS distance
    FROM cube
    JOIN cell USING (cube_x, cube_y, cube_z)
    WHERE distance <= circle_chord + reach
),

piece AS (
    SELECT visit, detector, n_object, place_hash
    FROM near
    WHERE distance + reach <= circle_chord
    UNION ALL
    SELECT visit, detector, 1, object.place_hash
    FROM near
    JOIN object USING (cell_x, cell_y, cell_z)
    WHERE distance + reach > circle_chord
        AND (object.ux - near.ux) ** 2 + (object.uy - near.uy) ** 2 + (object.uz - near.uz) ** 2 <= circle_chord ** 2
),

inside AS (
    SELECT visit, detector, sum(n_object)::BIGINT AS n_object, bit_xor(place_hash) AS place_hash
    FROM piece
    GROUP BY visit, detector
)

SELECT
    diffim.visit,
    diffim.detector,
    visit.band,
    visit.midpoint_mjd_tai,
    diffim.path,
    diffim.sha256,
    calexp.sha256 AS calexp_sha256,
    diffim.njy_per_e,
    diffim.science_noise_e,
    diffim.template_noise_e,
    diffim.diff_noise_e,
    circle_ra,
    circle_dec,
    circle_chord,
    coalesce(n_object, 0) AS n_object,
    coalesce(place_hash, 0) AS place_hash
FROM diffim
JOIN visit USING (visit)
JOIN calexp USING (visit, detector)
JOIN circle USING (visit, detector)
LEFT JOIN inside USING (visit, detector)
ORDER BY diffim.visit, diffim.detector

-- name: objects
-- The objects in the circle around the image.
SELECT dia_object_id, hpx29
FROM dia_object
WHERE dec BETWEEN $circle_dec - degrees(2 * asin($circle_chord / 2)) AND $circle_dec + degrees(2 * asin($circle_chord / 2))
    AND (cos(radians(dec)) * cos(radians(ra)) - cos(radians($circle_dec)) * cos(radians($circle_ra))) ** 2
    + (cos(radians(dec)) * sin(radians(ra)) - cos(radians($circle_dec)) * sin(radians($circle_ra))) ** 2
    + (sin(radians(dec)) - sin(radians($circle_dec))) ** 2 <= $circle_chord ** 2
ORDER BY dia_object_id

-- name: known
-- What was measured on this image last time, and with what.
SELECT dia_forced_source.* EXCLUDE (visit, detector, band, midpoint_mjd_tai, ra, dec), forced_image.measured_with
FROM dia_forced_source
JOIN forced_image USING (visit, detector)
WHERE visit = $visit
    AND detector = $detector
ORDER BY hpx29, dia_object_id
