-- The model PSF of a template is a Moffat profile with the wings of its exposures.

ALTER TABLE template ADD COLUMN target_beta DOUBLE;
COMMENT ON COLUMN template.target_beta IS '[] beta of the Moffat profile of the model PSF; NULL: a Gaussian';

-- The matching kernel starts from the PSF models; how well they match decides the direction.
ALTER TABLE diffim ADD COLUMN psf_match_residual DOUBLE;
COMMENT ON COLUMN diffim.psf_match_residual IS '[] rms of what the kernel of the PSF models leaves of the target PSF, over its rms; the direction is the one where it is small; NULL if the PSF models could not be used';
