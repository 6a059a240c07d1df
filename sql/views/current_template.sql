-- The template in use of each tract and band: its newest version.
CREATE OR REPLACE VIEW current_template AS
SELECT *
FROM template
QUALIFY row_number() OVER (PARTITION BY tract, band ORDER BY version DESC) = 1;
