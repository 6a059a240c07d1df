-- Which visits made the template of each visit, and with what share; a visit's share is averaged over its detectors.
CREATE OR REPLACE VIEW template_table AS
WITH n_image AS (
    SELECT visit, count(DISTINCT detector) AS n_detector
    FROM diffim_input
    GROUP BY visit
)
SELECT
    diffim_input.visit,
    diffim_input.template_visit,
    sum(diffim_input.weight) / any_value(n_image.n_detector) AS weight
FROM diffim_input
JOIN n_image USING (visit)
GROUP BY diffim_input.visit, diffim_input.template_visit;
COMMENT ON VIEW template_table IS 'Visits in the template of each visit';
COMMENT ON COLUMN template_table.visit IS '[] observation id';
COMMENT ON COLUMN template_table.template_visit IS '[] visit in its template';
COMMENT ON COLUMN template_table.weight IS '[] its share of the template, sums to 1 over a visit';
