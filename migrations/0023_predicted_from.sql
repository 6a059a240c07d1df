-- What predictions were made from, so that a run with nothing new does not make them again.
CREATE TABLE template_predicted_from (
    template_id BIGINT NOT NULL,
    sha256 VARCHAR NOT NULL
);
COMMENT ON TABLE template_predicted_from IS 'What the rows of template_prediction were made from: one row per template';
COMMENT ON COLUMN template_predicted_from.template_id IS '[] template';
COMMENT ON COLUMN template_predicted_from.sha256 IS '[] hash of the exposures, the decision and the version of the stage';
