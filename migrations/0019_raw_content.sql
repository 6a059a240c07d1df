-- What a raw file holds, so that one that was moved, renamed or packed otherwise is known again.
CREATE TABLE raw_content (
    path VARCHAR NOT NULL,
    visit BIGINT NOT NULL REFERENCES visit (visit),
    detector INTEGER NOT NULL REFERENCES detector (detector),
    content_sha256 VARCHAR,
    made_from VARCHAR NOT NULL
);
COMMENT ON TABLE raw_content IS 'What each raw image is by its content, wherever its file lies and however that is packed';
COMMENT ON COLUMN raw_content.path IS '[] absolute path of the raw file';
COMMENT ON COLUMN raw_content.visit IS '[] observation id';
COMMENT ON COLUMN raw_content.detector IS '[] sensor';
COMMENT ON COLUMN raw_content.content_sha256 IS '[] hash of pixels, masks, WCS and noise figures as read; NULL of images that were taken in before it was kept';
COMMENT ON COLUMN raw_content.made_from IS '[] what calibration depends on: content_sha256, or for images that were taken in before that was kept the hashes of file and instrument description';

INSERT INTO raw_content
SELECT path, visit, detector, NULL, sha256 || ' ' || instrument_sha256
FROM raw;
