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
