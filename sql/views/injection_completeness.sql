-- How many injected sources are found, by band, place and bin of S/N or magnitude. Confused ones do not count.
CREATE OR REPLACE VIEW injection_completeness AS
WITH counted AS (
    SELECT band, place, true_snr, 31.4 - 2.5 * log10(true_flux_njy) AS true_mag, is_detected, is_recovered
    FROM injected_source
    WHERE NOT is_confused
),
binned AS (
    SELECT counted.*, 'snr' AS axis, edge.low, edge.high
    FROM counted
    JOIN (
        VALUES (0, 3), (3, 4), (4, 4.5), (4.5, 5), (5, 5.5), (5.5, 6), (6, 7), (7, 10), (10, 15), (15, 1000)
    ) AS edge (low, high) ON true_snr >= low AND true_snr < high
    UNION ALL
    SELECT counted.*, 'magnitude' AS axis, floor(4 * true_mag) / 4 AS low, floor(4 * true_mag) / 4 + 0.25 AS high
    FROM counted
)
SELECT
    band,
    place,
    axis,
    CAST(low AS DOUBLE) AS low,
    CAST(high AS DOUBLE) AS high,
    count(*) AS n,
    count(*) FILTER (WHERE is_detected) AS n_detected,
    count(*) FILTER (WHERE is_recovered) AS n_recovered,
    count(*) FILTER (WHERE is_recovered) / count(*) AS completeness
FROM binned
GROUP BY ALL;
COMMENT ON VIEW injection_completeness IS 'Completeness of injected sources in bins of true S/N and of magnitude, by band and place';
COMMENT ON COLUMN injection_completeness.band IS '[] filter';
COMMENT ON COLUMN injection_completeness.place IS '[] where the sources were put';
COMMENT ON COLUMN injection_completeness.axis IS '[] what is binned: snr (true S/N) or magnitude (true AB magnitude)';
COMMENT ON COLUMN injection_completeness.low IS '[] lower edge of the bin, S/N or mag';
COMMENT ON COLUMN injection_completeness.high IS '[] upper edge of the bin, S/N or mag';
COMMENT ON COLUMN injection_completeness.n IS '[] sources put in';
COMMENT ON COLUMN injection_completeness.n_detected IS '[] of them detected, flagged or not';
COMMENT ON COLUMN injection_completeness.n_recovered IS '[] of them recovered: primary, without flag';
COMMENT ON COLUMN injection_completeness.completeness IS '[] n_recovered / n';
