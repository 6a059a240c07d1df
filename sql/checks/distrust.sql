-- Measurements to distrust: warnings, not faults of the catalog.

-- name: diffim
-- Every difference image keeps the limits of distrust_limit.
-- warning
SELECT visit, detector, band, reason, value, lowest, highest FROM diffim_distrust ORDER BY visit, detector, reason
