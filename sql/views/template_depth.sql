-- What was foretold of the difference images of the templates in use, and what they reached.
CREATE OR REPLACE VIEW template_depth AS
SELECT
    template.template_id,
    template.tract,
    template.band,
    prediction.visit,
    prediction.detector,
    coalesce(input.selected, false) AS is_input,
    prediction.n_input,
    prediction.predicted_depth_mag,
    diffim.depth_5sigma_mag AS measured_depth_mag,
    diffim.depth_5sigma_mag - prediction.predicted_depth_mag AS difference_mag
FROM current_template AS template
JOIN template_prediction AS prediction USING (template_id)
LEFT JOIN template_input AS input USING (template_id, visit, detector)
LEFT JOIN diffim USING (template_id, visit, detector);
COMMENT ON VIEW template_depth IS 'Predicted and measured depth of the difference images of the templates in use';
COMMENT ON COLUMN template_depth.template_id IS '[] template';
COMMENT ON COLUMN template_depth.tract IS '[] tract';
COMMENT ON COLUMN template_depth.band IS '[] filter';
COMMENT ON COLUMN template_depth.visit IS '[] observation id';
COMMENT ON COLUMN template_depth.detector IS '[] sensor';
COMMENT ON COLUMN template_depth.is_input IS '[] it is itself in the template, and left out of its own';
COMMENT ON COLUMN template_depth.n_input IS '[] inputs where there are most of them, itself left out';
COMMENT ON COLUMN template_depth.predicted_depth_mag IS '[mag] predicted magnitude of a point source of S/N 5; NULL where no input overlaps';
COMMENT ON COLUMN template_depth.measured_depth_mag IS '[mag] the same, measured on the difference image; NULL where there is none yet';
COMMENT ON COLUMN template_depth.difference_mag IS '[mag] measured minus predicted depth: positive is deeper than foretold';
