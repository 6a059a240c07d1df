-- What is to be told of a raw file although it is used.
CREATE TABLE raw_note (
    path VARCHAR NOT NULL,
    note VARCHAR NOT NULL
);
COMMENT ON TABLE raw_note IS 'What is odd about raw files that are used: images left out, headers changed after their checksum';
COMMENT ON COLUMN raw_note.path IS '[] absolute path of the raw file';
COMMENT ON COLUMN raw_note.note IS '[] in words';
