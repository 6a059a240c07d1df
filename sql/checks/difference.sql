-- Difference images and their sources.

-- name: diffim_is_unique
-- A visit and detector is subtracted once.
SELECT visit, detector, count(*) AS n FROM diffim GROUP BY visit, detector HAVING count(*) > 1

-- name: diffim_has_calexp
-- Every diffim has its calexp.
SELECT visit, detector FROM diffim ANTI JOIN calexp USING (visit, detector)

-- name: diffim_has_template
-- Every diffim names a template that exists.
SELECT visit, detector, template_id FROM diffim ANTI JOIN template USING (template_id)

-- name: weights_sum_to_one
-- The weights of the inputs of a diffim sum to 1.
SELECT visit, detector, sum(weight) AS total
FROM diffim_input GROUP BY visit, detector HAVING abs(sum(weight) - 1) > 1e-6

-- name: visit_not_in_its_own_template
-- No visit is subtracted from itself.
SELECT visit, detector FROM diffim_input WHERE visit = template_visit

-- name: input_has_diffim
-- Every template input on record belongs to a diffim.
SELECT DISTINCT visit, detector FROM diffim_input ANTI JOIN diffim USING (visit, detector)

-- name: dia_source_has_diffim
-- Every DIASource belongs to a diffim of the same template.
SELECT DISTINCT visit, detector, template_id FROM dia_source ANTI JOIN diffim USING (visit, detector, template_id)

-- name: dia_source_id_is_unique
-- A DIASource id is given once.
SELECT dia_source_id, count(*) AS n FROM dia_source GROUP BY dia_source_id HAVING count(*) > 1

-- name: dia_source_id_is_packed
-- A DIASource id says from which visit and detector it comes.
SELECT dia_source_id, visit, detector FROM dia_source
WHERE dia_source_id >> 22 <> visit OR (dia_source_id >> 14) & 255 <> detector

-- name: dia_source_on_the_sky
-- A DIASource has a place on the sky, and positive errors.
SELECT dia_source_id, ra, dec, ra_err, dec_err, psf_flux_err_njy FROM dia_source
WHERE ra < 0 OR ra >= 360 OR dec < -90 OR dec > 90 OR ra_err <= 0 OR dec_err <= 0 OR psf_flux_err_njy <= 0

-- name: primary_by_its_setting
-- A DIASource is primary exactly if its score reaches primary_score, as it was set when the image was measured.
WITH image AS (
    SELECT diffim.visit, diffim.detector, CAST(run.settings ->> '$.detect.primary_score' AS DOUBLE) AS primary_score
    FROM diffim
    JOIN unit ON unit.stage = 'detect'
        AND unit.unit_key = image_key(diffim.visit, diffim.detector)
    JOIN run USING (run_id)
)
SELECT dia_source_id, score, is_primary, primary_score
FROM dia_source
JOIN image USING (visit, detector)
WHERE is_primary <> (abs(score) >= primary_score)

-- name: sample_has_diffim
-- Every cell belongs to a diffim, which has 16 of them.
SELECT visit, detector, count(*) AS n_cell, count(diffim.visit) AS n_with_diffim
FROM diffim_sample LEFT JOIN diffim USING (visit, detector)
GROUP BY visit, detector
HAVING count(*) <> 16 OR count(diffim.visit) <> 16

-- name: registration_has_diffim
-- Every registration belongs to one diffim, and a diffim with cells has one.
SELECT visit, detector, count(*) AS n FROM diffim_registration GROUP BY visit, detector HAVING count(*) > 1
UNION ALL
SELECT visit, detector, 0 FROM diffim_registration ANTI JOIN diffim USING (visit, detector)
UNION ALL
SELECT DISTINCT visit, detector, 0 FROM diffim_sample ANTI JOIN diffim_registration USING (visit, detector)
