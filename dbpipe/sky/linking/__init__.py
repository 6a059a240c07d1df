"""Which detections are one object: `grouping`, `objects` (as rows), `tracklets` (what moves)."""
