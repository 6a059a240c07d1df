-- Exposures whose stars are cut off below the saturation level that the description of the instrument gives.
CREATE TABLE calexp_saturation (
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    described_e DOUBLE NOT NULL CHECK (isfinite(described_e)),
    found_e DOUBLE NOT NULL CHECK (isfinite(found_e)),
    lowest_e DOUBLE NOT NULL CHECK (isfinite(lowest_e)),
    n_flat_top INTEGER NOT NULL,
    n_pix BIGINT NOT NULL
);
COMMENT ON TABLE calexp_saturation IS 'Calibrated exposures with flat tops of stars below the described saturation level, which were then taken for saturated: one row per visit and detector';
COMMENT ON COLUMN calexp_saturation.visit IS '[] observation id';
COMMENT ON COLUMN calexp_saturation.detector IS '[] sensor';
COMMENT ON COLUMN calexp_saturation.described_e IS '[electron] saturation level by header and description, sky included';
COMMENT ON COLUMN calexp_saturation.found_e IS '[electron] median level of the flat tops in the raw image, sky included as far as it was not subtracted';
COMMENT ON COLUMN calexp_saturation.lowest_e IS '[electron] raw pixels from here on were taken for saturated';
COMMENT ON COLUMN calexp_saturation.n_flat_top IS '[] flat tops that show the level';
COMMENT ON COLUMN calexp_saturation.n_pix IS '[pix] pixels taken for saturated that the description would not have, before they were grown';
