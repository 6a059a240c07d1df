-- What the work cost, from the verdicts of the units.

-- name: by_stage
-- Seconds per stage, per unit and per million pixels; peak memory of one worker.
SELECT
    stage,
    count(*) AS n_unit,
    round(sum(wall_s), 1) AS wall_s,
    round(sum(cpu_s), 1) AS cpu_s,
    round(avg(wall_s), 3) AS wall_s_per_unit,
    round(avg(cpu_s), 3) AS cpu_s_per_unit,
    round(sum(cpu_s) FILTER (WHERE n_pix > 0) / (sum(n_pix) FILTER (WHERE n_pix > 0) / 1e6), 3) AS cpu_s_per_mpix,
    round(max(peak_rss_mib), 0) AS peak_rss_mib
FROM unit
WHERE status = 'done'
GROUP BY stage
ORDER BY min(finished_at)

-- name: slowest
-- The units that took longest.
SELECT stage, unit_key, round(wall_s, 2) AS wall_s, round(cpu_s, 2) AS cpu_s, round(peak_rss_mib, 0) AS peak_rss_mib
FROM unit
WHERE status = 'done'
ORDER BY unit.wall_s DESC
LIMIT 10
