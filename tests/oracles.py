"""Slow, literal forms that several tests compare with."""

import torch
from torch.nn import functional as nnf


def brute_distances(points, others):
    """(n,) distances of (n, 2) pixels to the nearest of (m, 2) others, by looking at every pair."""
    return torch.cdist(points.double(), others.double(), compute_mode="donot_use_mm_for_euclid_dist").amin(dim=1)


def brute_distance(mask):
    """(h, w) distances of the mask's pixels to the nearest pixel off it; beyond the image is off it."""
    outside = nnf.pad(~mask, (1, 1, 1, 1), value=True).nonzero() - 1
    out = torch.zeros(mask.shape, dtype=torch.float64)
    out[mask] = brute_distances(mask.nonzero(), outside)
    return out
