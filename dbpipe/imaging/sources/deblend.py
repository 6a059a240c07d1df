"""Companions: second sources within the PSF of a fitted one.

Where two sources are closer than the peaks of the score can tell, one fit takes the place of both and leaves a pattern.
The pattern is searched with the matched filter of a further source, free of what the fitted sources can take up
themselves by their fluxes and positions (the score test of Rao 1948 Proc. Camb. Phil. Soc. 44 50):
with r the residual, t the PSF at the trial place, a its products with the derivatives of the fit and N their normal
matrix, delta chi2 = (t.r)^2 / (t.t - a N^-1 a). The best place is then fitted jointly, and has to pay.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial import cKDTree

from dbpipe.compiled import njit
from dbpipe.imaging.psf.spline import cholesky_invert, render
from dbpipe.imaging.settings import Splitting
from dbpipe.imaging.sources.blend_fit import cut_group, fill_design, fit_blend, solve_fluxes
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
    state = np.nan_to_num(np.column_stack([fit.flux, fit.x, fit.y]))
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
        n_new, fitted = _split(
            image,
            variance,
            mask,
            psf_spline,
            state,
            members,
            ~fit.converged[members],
            near[~np.isin(near, members)],
            float(radius_pix),
            reach,
            _MIN_SEPARATION_FWHM * fwhm_pix,
            splitting.score**2 + _PRICE + splitting.model_error**2 * np.sum(snr[members] ** 2),
            _FIT_ERROR,
            _MIN_SNR,
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


@njit(cache=True, error_model="numpy")
def _split(
    image, variance, mask, spline, state, members, held, others, radius, reach, separation, price, fit_error, min_snr
):
    """Add sources to a group while each pays; return how many, and the states of all with the new ones last.

    What counts is the largest number whose fit is good: a blend of three looks no better as a blend of two.
    """
    left, bottom, data, weight = cut_group(image, variance, mask, state[members, 1], state[members, 2], radius)
    for k in others:
        data -= state[k, 0] * render(spline[k], state[k, 1], state[k, 2], left, bottom, data.shape[0])[0]
    root = np.sqrt(weight)
    target = (root * data).ravel()
    splines = spline[members]
    current = state[members].copy()
    _, chi2, covariance = fit_blend(root, target, splines, left, bottom, held, current)
    n_good, good_state = 0, current.copy()
    for n_new in range(1, _MAX_NEW + 1):
        splines = np.concatenate((splines, spline[members[:1]]))
        gain, trial = _search(root, target, splines[:-1], left, bottom, current, reach)
        if gain < _HINT * price:
            break
        converged, new_chi2, covariance, proposal = _add(root, target, splines, left, bottom, current, trial)
        if not converged or not chi2 - new_chi2 >= price:
            break
        current, chi2 = proposal, new_chi2
        if _is_too_close(current, state[members[0]], separation, 2.0 * reach):
            break
        snr2 = current[:, 0] ** 2 / np.diag(covariance)[::3]
        if not np.min(snr2) >= min_snr**2:
            break
        dof = np.count_nonzero(weight) - current.size
        if chi2 < dof + 4.0 * np.sqrt(2.0 * dof) + fit_error**2 * np.sum(snr2):
            n_good, good_state = n_new, current.copy()
    return n_good, good_state


@njit(cache=True, error_model="numpy")
def _add(root, target, splines, left, bottom, state, trial):
    """Fit one source more; return if that converged, chi2, covariance and the states."""
    best_chi2, best_covariance, best = np.inf, np.zeros((3, 3)), np.zeros((1, 3))
    held = np.zeros(len(state) + 1, np.bool_)
    nearest = np.argmin((state[:, 1] - trial[1]) ** 2 + (state[:, 2] - trial[2]) ** 2)
    for start in range(2):
        guess = np.concatenate((state, trial.reshape(1, 3)))
        if start == 1:  # two like sources: the fitted one lies between them
            guess[nearest, 1:] += 0.7 * (guess[nearest, 1:] - trial[1:])
        if not solve_fluxes(root, target, splines, left, bottom, guess):
            continue
        converged, chi2, covariance = fit_blend(root, target, splines, left, bottom, held, guess)
        if converged and chi2 < best_chi2:
            best_chi2, best_covariance, best = chi2, covariance, guess
    return np.isfinite(best_chi2), best_chi2, best_covariance, best


@njit(cache=True, error_model="numpy")
def _is_too_close(state, origin, separation, reach):
    """Whether the last source is on top of another one, or a source has run away."""
    for k in range(len(state)):
        if np.hypot(state[k, 1] - origin[1], state[k, 2] - origin[2]) > reach:
            return True
        for j in range(k):
            if np.hypot(state[k, 1] - state[j, 1], state[k, 2] - state[j, 2]) < separation:
                return True
    return False


@njit(cache=True, error_model="numpy")
def _search(root, target, spline, left, bottom, state, reach):
    """Return the largest delta chi2 of one more source within ``reach`` of the first, and its flux and place."""
    side = root.shape[0]
    design = np.empty((3 * len(state), root.size))
    residual = (target - fill_design(root, spline, left, bottom, state, design)).reshape(root.shape)
    inverse, solved = cholesky_invert(design @ design.T)
    best, trial = 0.0, np.zeros(3)
    if not solved:
        return best, trial
    cx, cy = int(np.floor(state[0, 1] + 0.5)), int(np.floor(state[0, 2] + 0.5))
    step = 2 if reach > 6.0 else 1  # less than the width of the response: the fit finds the top
    r = step * int(reach / step)
    # one rendering at a whole pixel, of which every trial place is a window
    wide = render(spline[0], float(cx), float(cy), left - r, bottom - r, side + 2 * r)[0]
    for dy in range(-r, r + 1, step):
        for dx in range(-r, r + 1, step):
            if dx * dx + dy * dy > reach * reach:
                continue
            psf = root * wide[r - dy : r - dy + side, r - dx : r - dx + side]
            power = np.sum(psf * psf)
            product = design @ psf.ravel()
            left_over = power - product @ (inverse @ product)
            if left_over < _SINGULAR * power:
                continue
            signal = np.sum(psf * residual)
            if signal * signal / left_over > best:
                best = signal * signal / left_over
                trial[0], trial[1], trial[2] = signal / left_over, float(cx + dx), float(cy + dy)
    return best, trial
