-- What `dbpipe inject` shows and draws.

-- name: sources
-- Injected sources of the difference images that are there now, without the confused ones.
SELECT injected_source.*
FROM injected_source
JOIN injection_summary USING (visit, detector)
JOIN diffim ON diffim.visit = injected_source.visit
    AND diffim.detector = injected_source.detector
    AND diffim.sha256 = injection_summary.diffim_sha256
WHERE NOT is_confused
ORDER BY injected_source.visit, injected_source.detector, number
