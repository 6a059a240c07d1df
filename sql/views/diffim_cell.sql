-- The cells of the difference images with the DIASources in them.
CREATE OR REPLACE VIEW diffim_cell AS
WITH placed AS (
    SELECT
        visit,
        detector,
        least(3, floor(4 * (x + 0.5) / nx))::INTEGER AS cell_x,
        least(3, floor(4 * (y + 0.5) / ny))::INTEGER AS cell_y,
        is_negative,
        flag_dipole,
        radians(dipole_angle_deg) AS angle
    FROM dia_source
    JOIN calexp USING (visit, detector)
    WHERE is_primary
),

counted AS (
    SELECT
        visit,
        detector,
        cell_x,
        cell_y,
        count(*) AS n_primary,
        count(*) FILTER (is_negative) AS n_negative,
        count(*) FILTER (flag_dipole) AS n_dipole,
        avg(cos(angle)) FILTER (flag_dipole) AS mean_cos,
        avg(sin(angle)) FILTER (flag_dipole) AS mean_sin
    FROM placed
    GROUP BY ALL
)

SELECT
    sample.*,
    coalesce(n_primary, 0) AS n_primary,
    coalesce(n_negative, 0) AS n_negative,
    coalesce(n_dipole, 0) AS n_dipole,
    coalesce(n_primary, 0) / nullif((1 - sample.fraction_masked) * nx * ny / 16 * (pixel_scale_arcsec / 3600) ** 2, 0)
        AS density_deg2,
    n_dipole / n_primary AS dipole_fraction,
    degrees(atan2(mean_sin, mean_cos)) AS dipole_angle_deg,
    sqrt(mean_cos ** 2 + mean_sin ** 2) AS dipole_alignment
FROM diffim_sample AS sample
JOIN calexp USING (visit, detector)
LEFT JOIN counted USING (visit, detector, cell_x, cell_y);
COMMENT ON VIEW diffim_cell IS 'Difference images on 4 x 4 cells of the detector, with the primary DIASources in them';
COMMENT ON COLUMN diffim_cell.psf_fwhm_pix IS '[pix] 2.355 x determinant radius of the PSF of the difference';
COMMENT ON COLUMN diffim_cell.fraction_masked IS '[] pixels that cannot be used';
COMMENT ON COLUMN diffim_cell.n_primary IS '[] primary DIASources';
COMMENT ON COLUMN diffim_cell.n_negative IS '[] negative ones among them';
COMMENT ON COLUMN diffim_cell.n_dipole IS '[] dipoles among them';
COMMENT ON COLUMN diffim_cell.density_deg2 IS '[1/deg2] primary DIASources per area that can be used';
COMMENT ON COLUMN diffim_cell.dipole_fraction IS '[] dipoles over primary DIASources; NULL without any';
COMMENT ON COLUMN diffim_cell.dipole_angle_deg IS '[deg] mean direction of the dipoles from negative to positive lobe, from x toward y; NULL without any';
COMMENT ON COLUMN diffim_cell.dipole_alignment IS '[] 0: dipoles in any direction, 1: all in one; NULL without any';
