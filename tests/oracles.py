"""Slow, literal forms that several tests compare with."""

import math

import numpy as np


def brute_distance(mask):
    """Every True pixel against every False one of the mask with a border of False."""
    padded = np.pad(np.asarray(mask), 1)
    holes = np.argwhere(~padded)
    out = np.zeros(padded.shape)
    for r, c in np.argwhere(padded):
        out[r, c] = math.sqrt(((holes - (r, c)) ** 2).sum(axis=1).min())
    return out[1:-1, 1:-1]
