-- One row of figures per difference image, gathered from all tables that say something of it.
CREATE OR REPLACE VIEW diffim_quality AS
WITH worst AS (
    SELECT
        visit,
        detector,
        arg_max(score_std, abs(ln(score_std))) AS worst_score_std,
        max(abs(score_mean)) AS worst_score_mean,
        arg_max(residual_ratio, abs(ln(residual_ratio))) AS worst_residual_ratio
    FROM diffim_sample
    GROUP BY visit, detector
),

dipole AS (
    SELECT
        visit,
        detector,
        count(*) AS n_primary,
        count(*) FILTER (flag_dipole) AS n_dipole,
        avg(cos(radians(dipole_angle_deg))) FILTER (flag_dipole) AS mean_cos,
        avg(sin(radians(dipole_angle_deg))) FILTER (flag_dipole) AS mean_sin
    FROM dia_source
    WHERE is_primary
    GROUP BY visit, detector
),

-- the pixel axes as seen on the sky, from the corners: pixels to the east and to the north
axes AS (
    SELECT
        visit,
        detector,
        ((corner_ra[2] - corner_ra[1] + 540) % 360 - 180) * cos(radians(dec)) / nx AS x_east,
        (corner_dec[2] - corner_dec[1]) / nx AS x_north,
        ((corner_ra[4] - corner_ra[1] + 540) % 360 - 180) * cos(radians(dec)) / ny AS y_east,
        (corner_dec[4] - corner_dec[1]) / ny AS y_north,
        sin(radians(parallactic_angle_deg)) AS zenith_east,
        cos(radians(parallactic_angle_deg)) AS zenith_north
    FROM calexp
    JOIN visit_zenith USING (visit)
),

zenith AS (
    SELECT
        visit,
        detector,
        degrees(atan2(
            (x_east * zenith_north - x_north * zenith_east) * sign(x_east * y_north - x_north * y_east),
            (zenith_east * y_north - zenith_north * y_east) * sign(x_east * y_north - x_north * y_east)
        )) AS zenith_deg
    FROM axes
),

image AS (
    SELECT
        diffim.visit,
        diffim.detector,
        visit.band,
        diffim.score_std,
        diffim.lag1_correlation,
        diffim.kernel_sum,
        diffim.kernel_sum_scatter,
        diffim.control_chi2,
        diffim.template_coverage,
        greatest(0, diffim.fraction_masked - (1 - diffim.template_coverage)) AS fraction_masked,
        worst.* EXCLUDE (visit, detector),
        coalesce(n_primary, 0) AS n_primary,
        coalesce(n_primary, 0)
        / nullif((1 - diffim.fraction_masked) * nx * ny * (calexp.pixel_scale_arcsec / 3600) ** 2, 0) AS density_deg2,
        coalesce(n_dipole, 0) AS n_dipole,
        sqrt(mean_cos ** 2 + mean_sin ** 2) AS dipole_alignment,
        degrees(atan2(mean_sin, mean_cos)) AS dipole_angle_deg,
        registration.n_star AS n_shift_star,
        sqrt(shift_x_pix ** 2 + shift_y_pix ** 2) AS shift_pix,
        scatter_pix AS shift_scatter_pix,
        axis_deg AS shift_axis_deg,
        alignment AS shift_alignment,
        chance_of_alignment AS shift_chance,
        zenith_deg
    FROM diffim
    JOIN visit USING (visit)
    JOIN calexp USING (visit, detector)
    LEFT JOIN worst USING (visit, detector)
    LEFT JOIN dipole USING (visit, detector)
    LEFT JOIN diffim_registration AS registration USING (visit, detector)
    LEFT JOIN zenith USING (visit, detector)
)

SELECT
    image.*,
    n_dipole / nullif(n_primary, 0) AS dipole_fraction,
    exp(-n_dipole * dipole_alignment ** 2) AS dipole_chance,
    median(density_deg2) OVER (PARTITION BY image.band) AS band_density_deg2,
    template_depth.difference_mag AS depth_difference_mag,
    -- between axes: 0 to 90
    degrees(acos(least(1, abs(cos(radians(shift_axis_deg - zenith_deg)))))) AS shift_from_zenith_deg,
    degrees(acos(least(1, abs(cos(radians(dipole_angle_deg - zenith_deg)))))) AS dipole_from_zenith_deg
FROM image
LEFT JOIN template_depth USING (visit, detector);
COMMENT ON VIEW diffim_quality IS 'How far each difference image can be trusted, in figures';
COMMENT ON COLUMN diffim_quality.visit IS '[] observation id';
COMMENT ON COLUMN diffim_quality.detector IS '[] sensor';
COMMENT ON COLUMN diffim_quality.band IS '[] filter';
COMMENT ON COLUMN diffim_quality.score_std IS '[] standard deviation of the score on blank sky';
COMMENT ON COLUMN diffim_quality.lag1_correlation IS '[] correlation of neighboring pixels on blank sky';
COMMENT ON COLUMN diffim_quality.kernel_sum IS '[] sum of the matching kernel: 1 if zero points agree';
COMMENT ON COLUMN diffim_quality.kernel_sum_scatter IS '[] standard deviation of the sum over the image';
COMMENT ON COLUMN diffim_quality.control_chi2 IS '[] reduced chi2 of held-out stars; NULL if there are none';
COMMENT ON COLUMN diffim_quality.template_coverage IS '[] fraction of pixels with a template';
COMMENT ON COLUMN diffim_quality.fraction_masked IS '[] pixels that cannot be used although there is a template';
COMMENT ON COLUMN diffim_quality.worst_score_std IS '[] score_std of the cell where it is farthest from 1';
COMMENT ON COLUMN diffim_quality.worst_score_mean IS '[] mean score on blank sky of the cell where it is farthest from 0, absolute';
COMMENT ON COLUMN diffim_quality.worst_residual_ratio IS '[] pixel noise over the claimed one in the cell where it is farthest from 1';
COMMENT ON COLUMN diffim_quality.n_primary IS '[] primary DIASources';
COMMENT ON COLUMN diffim_quality.density_deg2 IS '[1/deg2] primary DIASources per area that can be used';
COMMENT ON COLUMN diffim_quality.n_dipole IS '[] dipoles among them';
COMMENT ON COLUMN diffim_quality.dipole_alignment IS '[] 0: dipoles in any direction, 1: all in one; NULL without any';
COMMENT ON COLUMN diffim_quality.dipole_angle_deg IS '[deg] their mean direction from negative to positive lobe, from x toward y; NULL without any';
COMMENT ON COLUMN diffim_quality.n_shift_star IS '[] stars whose displacement between science image and template is known to 0.05 pix';
COMMENT ON COLUMN diffim_quality.shift_pix IS '[pix] length of their median displacement; NULL without stars';
COMMENT ON COLUMN diffim_quality.shift_scatter_pix IS '[pix] scatter of the displacements on one axis beyond their errors; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_quality.shift_axis_deg IS '[deg] direction in which they scatter most, from x toward y; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_quality.shift_alignment IS '[] 0: displacements in any direction, 1: all along one axis; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_quality.shift_chance IS '[] probability of such an alignment without a cause; NULL with fewer than 5 stars';
COMMENT ON COLUMN diffim_quality.dipole_fraction IS '[] dipoles over primary DIASources; NULL without any';
COMMENT ON COLUMN diffim_quality.dipole_chance IS '[] probability of such a dipole_alignment without a cause; NULL without dipoles';
COMMENT ON COLUMN diffim_quality.band_density_deg2 IS '[1/deg2] median of density_deg2 over the band';
COMMENT ON COLUMN diffim_quality.depth_difference_mag IS '[mag] measured minus predicted depth; NULL if nothing was predicted';
COMMENT ON COLUMN diffim_quality.zenith_deg IS '[deg] direction of the zenith, from x toward y; NULL where the site is not known';
COMMENT ON COLUMN diffim_quality.shift_from_zenith_deg IS '[deg] angle between shift_axis_deg and the direction of the zenith, 0 to 90: small with a small shift_chance means refraction';
COMMENT ON COLUMN diffim_quality.dipole_from_zenith_deg IS '[deg] angle between the mean axis of the dipoles and the direction of the zenith, 0 to 90';
