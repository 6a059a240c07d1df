"""Companions: second sources within the PSF of a fitted one.

Where two sources are closer than the peaks of the score can tell, one fit takes the place of both and leaves a pattern.
The pattern is searched with the matched filter of a further source, free of what the fitted sources can take up
themselves by their fluxes and positions (the score test of Rao 1948 Proc. Camb. Phil. Soc. 44 50):
with r the residual, t the PSF at the trial place, a its products with the derivatives of the fit and N their normal
matrix, delta chi2 = (t.r)^2 / (t.t - a N^-1 a). The best place is then fitted jointly, and has to pay.
"""

from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from scipy.spatial import cKDTree

from dbpipe.imaging.psf.spline import cholesky_invert, render
from dbpipe.imaging.settings import Splitting
from dbpipe.imaging.sources.blend_fit import Box, cut_box, fit_blend, solve_fluxes, subtract_models
from dbpipe.imaging.sources.point_fit import PointSourceFit

_PRICE = 3.0
"""Expected fall of chi2 by three parameters that fit noise."""
_HINT = 0.4
"""The linear search sees at least this part of the chi2 that the joint fit finds."""
_MAX_NEW = 3
_MAX_MEMBERS = 5
_SINGULAR = 0.02
"""Smallest part of a trial source that the fitted ones must leave."""
_MIN_SNR = 2.5
"""Smallest fitted flux over its error, of either source: below, the shares of the two are not known."""
_FIT_ERROR = 0.4
"""Error of the PSF, a fraction of its power, that may be left after the joint fit: a cosmic ray is not made of point
sources, and leaves more."""
_MIN_SEPARATION_FWHM = 0.45
"""Closer companions cannot be told from an error of the width of the PSF."""
_SEARCH_RADIUS_FWHM = 2.0
"""How far from a source its companions are looked for: further out they are peaks of their own."""


@dataclass(frozen=True)
class Companions:
    """Accepted companions and the groups they belong to."""

    parent: np.ndarray
    """(n,) int64 the source whose PSF serves."""
    state: np.ndarray
    """(n, 3) flux, x, y."""
    member: np.ndarray
    """(m,) int64 the sources fitted together with one of them."""
    member_state: np.ndarray
    """(m, 3) where these went."""


def find_companions(
    image: np.ndarray,
    variance: np.ndarray,
    mask: np.ndarray,
    *,
    psf_spline: np.ndarray,
    fit: PointSourceFit,
    radius_pix: float,
    fwhm_pix: float,
    splitting: Splitting,
) -> Companions:
    """Find the companions of fitted sources, the most significant ones first.

    What is near a source that was split waits for the next call, with new fits.

    Parameters
    ----------
    image, variance, mask : (ny, nx) arrays
    psf_spline : (n, size, size) float32 array
    fit : PointSourceFit of n sources
    radius_pix, fwhm_pix : float
    splitting : Splitting

    Returns
    -------
    Companions
    """
    radius_pix, state = float(radius_pix), np.nan_to_num(np.column_stack([fit.flux, fit.x, fit.y]))
    snr = np.nan_to_num(np.abs(fit.flux) / fit.flux_err)
    order = np.argsort(-snr, kind="stable")
    taken = np.zeros(len(snr), bool)
    parent, companion, member, member_state = [], [], [], []
    reach = _SEARCH_RADIUS_FWHM * fwhm_pix
    tree = cKDTree(state[:, 1:].reshape(-1, 2))
    for i in order:
        if taken[i] or not (fit.converged[i] or snr[i] >= splitting.score):
            continue  # a strong source whose fit failed may be two
        near = np.array(tree.query_ball_point(state[i, 1:], 2.0 * radius_pix + reach), np.int64)
        distance = np.hypot(*(state[near, 1:] - state[i, 1:]).T)
        near = near[np.lexsort((near, distance))]
        close = (fit.converged[near] | (near == i)) & ~taken[near] & (np.sort(distance) < reach)
        members = near[close][:_MAX_MEMBERS]
        box = cut_box((image, variance, mask), state[members, 1], state[members, 2], radius_pix)
        subtract_models(box, psf_spline, state, near[~np.isin(near, members)])
        n_new, fitted = _split(
            box,
            psf_spline[np.concatenate([members, members[:1].repeat(_MAX_NEW)])],
            state[members],
            ~fit.converged[members],
            reach_pix=reach,
            separation_pix=_MIN_SEPARATION_FWHM * fwhm_pix,
            price=splitting.score**2 + _PRICE + splitting.model_error**2 * np.sum(snr[members] ** 2),
        )
        if n_new:
            taken[near] = True  # what is left around them has changed: next turn
            parent += [i] * n_new
            companion.append(fitted[-n_new:])
            member.append(members)
            member_state.append(fitted[:-n_new])
    return Companions(
        np.array(parent, np.int64),
        np.concatenate([np.zeros((0, 3)), *companion]),
        np.concatenate([np.zeros(0, np.int64), *member]),
        np.concatenate([np.zeros((0, 3)), *member_state]),
    )


def _split(
    box: Box,
    spline: np.ndarray,
    state: np.ndarray,
    held: np.ndarray,
    *,
    reach_pix: float,
    separation_pix: float,
    price: float,
) -> tuple[int, np.ndarray]:
    """Add sources to a group while each pays; return how many, and the states of all with the new ones last.

    What counts is the largest number whose fit is good: a blend of three looks no better as a blend of two.

    Parameters
    ----------
    spline : (m + 3, size, size) float32 array, of the members and of those that may be added
    state : (m, 3) float array
    held : (m,) bool array
    """
    n_old, origin, current = len(state), state[0, 1:], state.copy()
    _, chi2, _ = fit_blend(box, spline[:n_old], current, held)
    n_good, good_state = 0, current
    for n_new in range(1, _MAX_NEW + 1):
        gain, trial = _search(box, spline[: len(current)], current, reach_pix)
        if gain < _HINT * price:
            break
        found = _add(box, spline[: n_old + n_new], current, trial)
        if found is None or not chi2 - found[0] >= price:
            break
        chi2, covariance, current = found
        if _is_too_close(current, origin, separation_pix, 2.0 * reach_pix):
            break
        snr2 = current[:, 0] ** 2 / covariance.diagonal()[::3]
        if not snr2.min() >= _MIN_SNR**2:
            break
        dof = int(np.count_nonzero(box.weight)) - current.size
        if chi2 < dof + 4.0 * np.sqrt(2.0 * max(dof, 0)) + _FIT_ERROR**2 * float(snr2.sum()):
            n_good, good_state = n_new, current
    return n_good, good_state


def _add(
    box: Box, spline: np.ndarray, state: np.ndarray, trial: np.ndarray
) -> tuple[float, np.ndarray, np.ndarray] | None:
    """Fit one source more; return chi2, covariance and the states, or nothing if that does not converge."""
    best = None
    nearest = int(np.argmin(((state[:, 1:] - trial[1:]) ** 2).sum(axis=1)))
    for start in range(2):
        guess = np.vstack([state, trial])
        if start == 1:  # two like sources: the fitted one lies between them
            guess[nearest, 1:] += 0.7 * (guess[nearest, 1:] - trial[1:])
        if not solve_fluxes(box, spline, guess):
            continue
        converged, chi2, covariance = fit_blend(box, spline, guess)
        if converged and (best is None or chi2 < best[0]):
            best = chi2, covariance, guess
    return best


def _is_too_close(state: np.ndarray, origin: np.ndarray, separation_pix: float, reach_pix: float) -> bool:
    """Whether the last source is on top of another one, or a source has run away."""
    apart = np.hypot(*(state[:, None, 1:] - state[None, :, 1:]).T)[np.triu_indices(len(state), 1)]
    return bool((apart < separation_pix).any() or (np.hypot(*(state[:, 1:] - origin).T) > reach_pix).any())


def _search(box: Box, spline: np.ndarray, state: np.ndarray, reach_pix: float) -> tuple[float, np.ndarray]:
    """Return the largest delta chi2 of one more source within ``reach_pix`` of the first, and its flux and place."""
    side, residual, design = len(box.data), box.data.copy(), []
    for star, (flux, x, y) in zip(spline, state, strict=True):
        psf, psf_x, psf_y = render(star, x, y, box.left, box.bottom, side)
        residual -= flux * psf
        design += [psf, flux * psf_x, flux * psf_y]
    rows = np.reshape(design, (len(design), -1))
    weighted = rows * box.weight.ravel()
    inverse, solved = cholesky_invert(weighted @ rows.T)
    if not solved:
        return 0.0, np.zeros(3)
    cx, cy = (int(np.floor(place + 0.5)) for place in state[0, 1:])
    step = 2 if reach_pix > 6.0 else 1  # less than the width of the response: the fit finds the top
    r = step * int(reach_pix / step)
    dy, dx = step * np.indices((2 * r // step + 1,) * 2).reshape(2, -1) - r
    dy, dx = (offset[dx * dx + dy * dy <= reach_pix * reach_pix] for offset in (dy, dx))
    # one rendering at a whole pixel, of which every trial place is a window
    wide = render(spline[0], float(cx), float(cy), box.left - r, box.bottom - r, side + 2 * r)[0]
    psf = sliding_window_view(wide, (side, side))[r - dy, r - dx].reshape(len(dx), -1)
    power, product = np.square(psf) @ box.weight.ravel(), psf @ weighted.T
    left_over = power - np.einsum("ij,ij->i", product @ inverse, product)
    signal = psf @ (box.weight * residual).ravel()
    gain = np.where(left_over < _SINGULAR * power, 0.0, signal * signal / np.maximum(left_over, 1e-300))
    best = int(np.argmax(gain))
    return float(gain[best]), np.array([signal[best] / left_over[best], cx + dx[best], cy + dy[best]])
