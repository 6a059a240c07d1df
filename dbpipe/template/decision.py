"""What a template decision says."""

from dataclasses import dataclass, field
from typing import Any

from dbpipe.errors import ConfigError


class NoTemplate(ConfigError):
    """No exposure of a band may go into its template; the keyword arguments are the numbers behind it."""

    def __init__(self, message: str, **numbers: int) -> None:
        super().__init__(message)
        self.numbers = numbers


@dataclass(frozen=True)
class Decision:
    """Which exposures make the template of a tract and band."""

    tract: int
    band: str
    how: str
    how_value: str | None
    target_fwhm_pix: float
    """[pix] of the tract"""
    target_beta: float | None
    """Moffat beta of the model PSF; None for a Gaussian."""
    predicted_depth_mag: float | None
    exposures: list[Any]
    """Rows visit, detector, psf_fwhm_pix, psf_fwhm_det_pix, depth_5sigma_mag, selected, reason; the sharpest first."""
    curve: list[Any] = field(default_factory=list)
    """Rows of template_curve, for auto."""

    @property
    def place(self) -> tuple[int, str]:
        """Tract and band."""
        return self.tract, self.band

    @property
    def n_input(self) -> int:
        """Number of exposures that go in."""
        return sum(row["selected"] for row in self.exposures)
