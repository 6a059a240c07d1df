-- A unit of the skymap stage is one exposure now and was a whole tract before: the next run makes the overlaps again.
DELETE FROM unit WHERE stage = 'skymap';
DELETE FROM patch_overlap;
