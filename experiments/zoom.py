"""Beyond the paper: the network looks again at a small object, enlarged (`siis.py --zoom`).

Measured beside other changes at test time on GrabCut, Berkeley and DAVIS: docs/results.md.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from experiments.sessions import Measured
from session import Session, View

FACTOR = 1.4  # by which the box of the object is enlarged
LARGEST = 0.25  # share of the image; in a larger box there is little to gain


class Zoomed(Measured):
    """A session that, from the second click on, segments a small object in its surroundings alone."""

    def open(self, image: np.ndarray, name: str, category: str) -> View:
        """`Session.open`, which keeps the image: (H, W, 3) uint8 RGB -> View."""
        self.image = image
        return super().open(image, name, category)

    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """`Session.segment` of the surroundings of the mask and the positive clicks, if they are small enough."""
        mask = super().segment(view, clicks)
        box = zoom_box(mask, clicks) if len(clicks) > 1 else None
        if box is None:
            return mask
        top, left, bottom, right = box
        part = Session.open(self, self.image[top:bottom, left:right], view.name, view.category)  # the same box: cached
        inside = [(r - top, c - left, s) for r, c, s in clicks if top <= r < bottom and left <= c < right]
        near = torch.zeros_like(mask)
        near[top:bottom, left:right] = super().segment(part, inside)
        return near


def zoom_box(mask: Tensor, clicks: Sequence[Sequence]) -> tuple[int, int, int, int] | None:
    """The box of an (H, W) bool mask and the positive clicks, enlarged and clipped; None if it is too large.

    clicks:   (row, col, positive) each.
    Returns:  top, left, bottom, right; the last two exclusive.
    """
    points = torch.cat([mask.nonzero().cpu(), torch.tensor([c[:2] for c in clicks if c[2]]).reshape(-1, 2)])
    if not len(points):
        return None
    (top, left), (bottom, right) = points.amin(dim=0).tolist(), (points.amax(dim=0) + 1).tolist()
    more = [(FACTOR - 1) / 2 * side for side in (bottom - top, right - left)]
    H, W = mask.shape
    top, left = max(0, int(top - more[0])), max(0, int(left - more[1]))
    bottom, right = min(H, int(bottom + more[0]) + 1), min(W, int(right + more[1]) + 1)
    return (top, left, bottom, right) if (bottom - top) * (right - left) < LARGEST * H * W else None
