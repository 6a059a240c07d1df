-- What two columns mean now.
COMMENT ON COLUMN dia_source.score IS '[] signed signal to noise: of the matched filter at the peak; beside a neighbor the root of the fall of chi2 that the source causes in the joint fit; of a trail its flux over the error, where that is larger';
COMMENT ON COLUMN dia_source.is_primary IS '[] |score| is at least the setting primary_score of [detect], 5 if nobody has changed it';
