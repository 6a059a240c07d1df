-- The sky map: one discrete tract, one projection, square patches that share its pixel grid.
CREATE TABLE tract (
    tract INTEGER NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    pixel_scale_arcsec DOUBLE NOT NULL CHECK (isfinite(pixel_scale_arcsec)),
    patch_size_pix INTEGER NOT NULL,
    PRIMARY KEY (tract)
);
COMMENT ON TABLE tract IS 'A plane of the sky: one TAN projection and one pixel grid';
COMMENT ON COLUMN tract.tract IS '[] number';
COMMENT ON COLUMN tract.ra IS '[deg] ICRS right ascension of the tangent point, at the centre of pixel (0, 0)';
COMMENT ON COLUMN tract.dec IS '[deg] ICRS declination of the tangent point';
COMMENT ON COLUMN tract.pixel_scale_arcsec IS '[arcsec] pixel size at the tangent point';
COMMENT ON COLUMN tract.patch_size_pix IS '[pix] side of the inner, disjoint part of a patch';

CREATE TABLE patch (
    tract INTEGER NOT NULL REFERENCES tract (tract),
    patch INTEGER NOT NULL,
    ix INTEGER NOT NULL,
    iy INTEGER NOT NULL,
    x0 INTEGER NOT NULL,
    y0 INTEGER NOT NULL,
    nx INTEGER NOT NULL,
    ny INTEGER NOT NULL,
    ra DOUBLE NOT NULL CHECK (isfinite(ra)),
    dec DOUBLE NOT NULL CHECK (isfinite(dec)),
    PRIMARY KEY (tract, patch)
);
COMMENT ON TABLE patch IS 'Square pieces of a tract; new exposures add patches, none is ever moved';
COMMENT ON COLUMN patch.tract IS '[] tract';
COMMENT ON COLUMN patch.patch IS '[] number: 1000 (iy + 500) + ix + 500';
COMMENT ON COLUMN patch.ix IS '[] column of the patch, 0 holds the tangent point in its lower left corner';
COMMENT ON COLUMN patch.iy IS '[] row of the patch';
COMMENT ON COLUMN patch.x0 IS '[pix] first pixel of the patch in the tract grid';
COMMENT ON COLUMN patch.y0 IS '[pix] first pixel of the patch in the tract grid';
COMMENT ON COLUMN patch.nx IS '[pix] width';
COMMENT ON COLUMN patch.ny IS '[pix] height';
COMMENT ON COLUMN patch.ra IS '[deg] ICRS right ascension of the centre';
COMMENT ON COLUMN patch.dec IS '[deg] ICRS declination of the centre';

CREATE TABLE patch_overlap (
    tract INTEGER NOT NULL REFERENCES tract (tract),
    patch INTEGER NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector)
);
COMMENT ON TABLE patch_overlap IS 'Which calibrated exposures touch which patch';
COMMENT ON COLUMN patch_overlap.tract IS '[] tract';
COMMENT ON COLUMN patch_overlap.patch IS '[] patch';
COMMENT ON COLUMN patch_overlap.visit IS '[] observation id';
COMMENT ON COLUMN patch_overlap.detector IS '[] sensor';
