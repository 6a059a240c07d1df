"""The loop: `pipeline` (work, run, commit), `offer` (what is due), `pool` (worker processes), `worker` (one unit)."""
