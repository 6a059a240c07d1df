-- Templates, warps and coadds.

-- name: template_is_unique
-- A tract and band has one template of each version, and a template one id.
SELECT tract, band, version, count(*) AS n FROM template GROUP BY tract, band, version HAVING count(*) > 1
UNION ALL
SELECT min(tract), min(band), min(version), count(*) FROM template GROUP BY template_id HAVING count(*) > 1

-- name: template_input_is_unique
-- An exposure is weighed once for a template.
SELECT template_id, visit, detector, count(*) AS n
FROM template_input GROUP BY template_id, visit, detector HAVING count(*) > 1

-- name: template_counts_its_inputs
-- A template has as many selected inputs as it says.
SELECT template_id, n_input, count(*) FILTER (WHERE selected) AS n_row
FROM template LEFT JOIN template_input USING (template_id)
GROUP BY template_id, n_input
HAVING count(*) FILTER (WHERE selected) <> n_input

-- name: warp_is_unique
-- An exposure is warped once to a patch for a template.
SELECT template_id, tract, patch, visit, detector, count(*) AS n
FROM warp GROUP BY template_id, tract, patch, visit, detector HAVING count(*) > 1

-- name: warp_has_calexp
-- Every warp has its calexp.
SELECT template_id, patch, visit, detector FROM warp ANTI JOIN calexp USING (visit, detector)

-- name: warp_was_selected
-- Only selected exposures are warped.
SELECT template_id, patch, visit, detector FROM warp
ANTI JOIN template_input ON template_input.template_id = warp.template_id AND template_input.visit = warp.visit
    AND template_input.detector = warp.detector AND template_input.selected

-- name: coadd_is_unique
-- A patch of a template has one coadd.
SELECT template_id, tract, patch, count(*) AS n FROM coadd GROUP BY template_id, tract, patch HAVING count(*) > 1

-- name: coadd_input_has_coadd
-- Every coadd input belongs to a coadd.
SELECT template_id, tract, patch, visit FROM coadd_input ANTI JOIN coadd USING (template_id, tract, patch)

-- name: coadd_input_has_calexp
-- Every coadd input has its calexp.
SELECT template_id, tract, patch, visit, detector FROM coadd_input ANTI JOIN calexp USING (visit, detector)

-- name: coadd_counts_its_inputs
-- A coadd has as many inputs as it says.
SELECT template_id, tract, patch, n_input, count(visit) AS n_row
FROM coadd LEFT JOIN coadd_input USING (template_id, tract, patch)
GROUP BY template_id, tract, patch, n_input
HAVING count(visit) <> n_input

-- name: overlap_has_patch
-- Every overlap names a patch that exists.
SELECT tract, patch, visit FROM patch_overlap ANTI JOIN patch USING (tract, patch)

-- name: prediction_is_unique
-- An exposure has one predicted depth for a template, which exists.
SELECT template_id, visit, detector, count(*) AS n
FROM template_prediction GROUP BY template_id, visit, detector HAVING count(*) > 1
UNION ALL
SELECT template_id, visit, detector, 0 FROM template_prediction ANTI JOIN template USING (template_id)

-- name: curve_has_one_choice
-- Of the cuts that auto weighed, one was taken.
SELECT template_id, count(*) FILTER (WHERE is_chosen) AS n_chosen
FROM template_curve
WHERE template_id IN (SELECT template_id FROM template_prediction)
GROUP BY template_id
HAVING count(*) FILTER (WHERE is_chosen) > 1
