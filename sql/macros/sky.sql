-- Places on the sky. What is near is found by declination first, which the database can skip whole pieces of a table by,
-- and then by the great circle, so that poles and right ascension 0 are places like any other.

-- Vincenty's form of the great circle: accurate for small and for large angles.
CREATE OR REPLACE MACRO separation_arcsec(ra1, dec1, ra2, dec2) AS
    3600 * degrees(atan2(
        sqrt(
            (cos(radians(dec2)) * sin(radians(ra2 - ra1))) ** 2
            + (
                cos(radians(dec1)) * sin(radians(dec2))
                - sin(radians(dec1)) * cos(radians(dec2)) * cos(radians(ra2 - ra1))
            ) ** 2
        ),
        sin(radians(dec1)) * sin(radians(dec2)) + cos(radians(dec1)) * cos(radians(dec2)) * cos(radians(ra2 - ra1))
    ));
COMMENT ON MACRO separation_arcsec IS '[arcsec] angle between two directions [deg]';

CREATE OR REPLACE MACRO healpix(hpx29, healpix_order) AS
    CAST(hpx29 AS BIGINT) >> CAST(2 * (29 - healpix_order) AS BIGINT);
COMMENT ON MACRO healpix IS '[] nested HEALPix index of a lower order, 0 to 29, from one of order 29';

CREATE OR REPLACE MACRO cone_search(ra, dec, radius_arcsec) AS TABLE
    SELECT s.*, separation_arcsec(ra, dec, s.ra, s.dec) AS distance_arcsec
    FROM dia_source AS s
    WHERE s.dec BETWEEN dec - radius_arcsec / 3600 AND dec + radius_arcsec / 3600
        AND separation_arcsec(ra, dec, s.ra, s.dec) <= radius_arcsec
    ORDER BY distance_arcsec, s.dia_source_id;
COMMENT ON MACRO TABLE cone_search IS 'DIASources within a radius [arcsec] of a position [deg], nearest first, with distance_arcsec';

CREATE OR REPLACE MACRO cone_search_object(ra, dec, radius_arcsec) AS TABLE
    SELECT o.*, separation_arcsec(ra, dec, o.ra, o.dec) AS distance_arcsec
    FROM dia_object AS o
    WHERE o.dec BETWEEN dec - radius_arcsec / 3600 AND dec + radius_arcsec / 3600
        AND separation_arcsec(ra, dec, o.ra, o.dec) <= radius_arcsec
    ORDER BY distance_arcsec, o.dia_object_id;
COMMENT ON MACRO TABLE cone_search_object IS 'Objects within a radius [arcsec] of a position [deg], nearest first, with distance_arcsec';
