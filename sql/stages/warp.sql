-- name: work
-- One row per exposure in a template in use and patch that it touches; one that turned out to be of another band is out.
SELECT
    template.template_id,
    template.target_fwhm_pix,
    template.target_beta,
    patch.tract,
    patch.patch,
    patch.x0,
    patch.y0,
    patch.nx,
    patch.ny,
    tract.ra AS tract_ra,
    tract.dec AS tract_dec,
    tract.pixel_scale_arcsec,
    tract.patch_size_pix,
    calexp.visit,
    calexp.detector,
    calexp.path,
    calexp.sha256,
    calexp.njy_per_e,
    calexp.psf_fwhm_pix,
    template.band
FROM current_template AS template
JOIN template_input USING (template_id)
JOIN calexp USING (visit, detector)
JOIN visit USING (visit)
JOIN patch_overlap USING (tract, visit, detector)
JOIN patch USING (tract, patch)
JOIN tract USING (tract)
WHERE template_input.selected AND visit.band = template.band
ORDER BY template.template_id, patch.tract, patch.patch, calexp.visit, calexp.detector
