"""Fitting a WCS to reference stars: `fit` is the way in; `pattern` (where the field is), `plate_fit`, `tansip`."""
