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

-- Half the width of a cone in right ascension: all of it where the cone comes near a pole.
CREATE OR REPLACE MACRO cone_half_width_deg(dec_deg, radius_arcsec) AS
    CASE WHEN abs(dec_deg) + radius_arcsec / 3600 < 89.9
        THEN degrees(asin(sin(radians(radius_arcsec / 3600)) / cos(radians(dec_deg))))
        ELSE 360
    END;
COMMENT ON MACRO cone_half_width_deg IS '[deg] how far a cone reaches from its center in right ascension';

-- Each range of right ascension by itself, for DuckDB does not skip by conditions that are joined with OR.
CREATE OR REPLACE MACRO cone_search(ra_deg, dec_deg, radius_arcsec) AS TABLE
    WITH near AS (
        SELECT * FROM dia_source AS s
        WHERE s.dec BETWEEN dec_deg - radius_arcsec / 3600 AND dec_deg + radius_arcsec / 3600
            AND s.ra BETWEEN (ra_deg % 360 + 360) % 360 - cone_half_width_deg(dec_deg, radius_arcsec)
                AND least((ra_deg % 360 + 360) % 360 + cone_half_width_deg(dec_deg, radius_arcsec), 360)
        UNION ALL
        SELECT * FROM dia_source AS s
        WHERE s.dec BETWEEN dec_deg - radius_arcsec / 3600 AND dec_deg + radius_arcsec / 3600
            AND s.ra BETWEEN (ra_deg % 360 + 360) % 360 - cone_half_width_deg(dec_deg, radius_arcsec) + 360 AND 360
            AND s.ra > (ra_deg % 360 + 360) % 360 + cone_half_width_deg(dec_deg, radius_arcsec)
        UNION ALL
        SELECT * FROM dia_source AS s
        WHERE s.dec BETWEEN dec_deg - radius_arcsec / 3600 AND dec_deg + radius_arcsec / 3600
            AND s.ra BETWEEN 0 AND (ra_deg % 360 + 360) % 360 + cone_half_width_deg(dec_deg, radius_arcsec) - 360
            AND s.ra < (ra_deg % 360 + 360) % 360 - cone_half_width_deg(dec_deg, radius_arcsec)
    )

    SELECT near.*, separation_arcsec(ra_deg, dec_deg, near.ra, near.dec) AS distance_arcsec
    FROM near
    WHERE separation_arcsec(ra_deg, dec_deg, near.ra, near.dec) <= radius_arcsec
    ORDER BY distance_arcsec, near.dia_source_id;
COMMENT ON MACRO TABLE cone_search IS 'DIASources within a radius [arcsec] of a position [deg], nearest first, with distance_arcsec';

CREATE OR REPLACE MACRO cone_search_object(ra_deg, dec_deg, radius_arcsec) AS TABLE
    SELECT o.*, separation_arcsec(ra_deg, dec_deg, o.ra, o.dec) AS distance_arcsec
    FROM dia_object AS o
    WHERE o.dec BETWEEN dec_deg - radius_arcsec / 3600 AND dec_deg + radius_arcsec / 3600
        AND separation_arcsec(ra_deg, dec_deg, o.ra, o.dec) <= radius_arcsec
    ORDER BY distance_arcsec, o.dia_object_id;
COMMENT ON MACRO TABLE cone_search_object IS 'Objects within a radius [arcsec] of a position [deg], nearest first, with distance_arcsec';
