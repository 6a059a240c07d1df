-- Injected sources.

-- name: injection_is_of_this_diffim
-- What injection says is about a difference image that is still there, unchanged (else: dbpipe inject).
-- warning
SELECT visit, detector FROM injection_summary AS s
ANTI JOIN diffim ON diffim.visit = s.visit AND diffim.detector = s.detector AND diffim.sha256 = s.diffim_sha256

-- name: injected_source_has_summary
-- Every injected source belongs to an image with a summary.
SELECT DISTINCT visit, detector FROM injected_source ANTI JOIN injection_summary USING (visit, detector)

-- name: recovered_is_detected
-- A recovered source is detected, and a detected one has a positive score and a flux.
SELECT visit, detector, number FROM injected_source
WHERE is_recovered > is_detected OR (is_detected AND (score IS NULL OR score <= 0 OR psf_flux_njy IS NULL))

-- name: recovered_is_clean
-- An injected source is recovered where what was found of it is clean (else: dbpipe inject).
-- warning
WITH found AS (
    SELECT visit, detector, number, is_detected, is_recovered, score, string_split(coalesce(flags, ''), ' ') AS flags
    FROM injected_source
)
SELECT visit, detector, number
FROM found
WHERE is_recovered <> is_clean_detection(
    is_detected,
    is_spoiled(
        list_contains(flags, 'flag_edge'),
        list_contains(flags, 'flag_saturated'),
        list_contains(flags, 'flag_bad'),
        list_contains(flags, 'flag_cosmic_ray'),
        list_contains(flags, 'flag_streak'),
        list_contains(flags, 'flag_no_template')
    ),
    list_contains(flags, 'flag_dipole'),
    list_contains(flags, 'flag_fit_failed'),
    list_contains(flags, 'flag_shape'),
    list_has_any(flags, ['flag_near_saturated', 'flag_bright_star']),
    coalesce(score, 0)
)
