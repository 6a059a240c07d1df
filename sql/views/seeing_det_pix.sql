-- Seeing of an exposure by the measure of the classic cut, in pixels of another size. The determinant radius takes the
-- wings in as far as the pixels show them, the half-maximum diameter hardly does: where the pixels differ, the latter is
-- compared, times what the ratio of the two usually is. It stands among the views, to be there when they are.
CREATE OR REPLACE MACRO seeing_det_pix(det_pix, fwhm_pix, scale, usual_ratio) AS
    CASE WHEN abs(scale - 1) < 0.01 THEN det_pix * scale ELSE fwhm_pix * scale * usual_ratio END;
COMMENT ON MACRO seeing_det_pix IS '[pix] 2.355 x determinant radius in pixels of which those of the exposure are scale long';
