-- A star of the reference catalogue may have no id of its own.
ALTER TABLE reference_star ALTER COLUMN original_id DROP NOT NULL;
COMMENT ON COLUMN reference_star.original_id IS '[] id as the catalogue gives it; NULL where it gives none';
