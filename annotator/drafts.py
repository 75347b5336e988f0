"""The mask of a draft: the network's of its clicks, what a correction may change, strokes on top (D20, D32)."""

from collections.abc import Sequence

import numpy as np
import torch

from annotator.checks import Click, Draft, RefusedError, checked_stroke
from annotator.folder_session import FolderSession
from annotator.history import Event
from annotator.masks import Box, corrected, cropped, cut, from_counts, painted
from annotator.prefetcher import Newest
from support.checks import checked_clicks
from support.distances import distance_transform

FINEST = 512  # side of the grid on which a deep pixel is looked for
KEPT = 8  # masks: a click more finds those of the clicks before it


class Drafts:
    """Masks of drafts in a session's images."""

    def __init__(self, session: FolderSession):
        self.session = session
        self.masks = Newest(KEPT)  # by draft

    def mask(self, draft: Draft, old: Event | None = None) -> tuple[np.ndarray, Box]:
        """(H, W) bool, and what the network looks at; `old`: the instance that is corrected, as it stands.

        Raises:  RefusedError for a click outside of that; ValueError for one outside the image.
        """
        shape = self.session.open(draft.image, draft.category).shape
        if draft not in self.masks:
            clicks = tuple(map(tuple, old["clicks"])) if old else ()
            strokes = tuple(map(checked_stroke, old.get("strokes", ()))) if old else ()
            n, painted_already = len(clicks), len(strokes)
            if old and draft.clicks[:n] == clicks and draft.strokes[:painted_already] == strokes:
                mask = self._corrected(draft, old, n)
            else:
                mask, painted_already = self._segmented(draft, draft.clicks, shape), 0
            self.masks[draft] = painted(mask, draft.strokes[painted_already:])
        return self.masks[draft], cropped(shape, draft.box) or (0, 0, *shape)

    def _corrected(self, draft: Draft, old: Event, n: int) -> np.ndarray:
        """(H, W) bool, the mask that stands, changed by each click after the first `n`, near that click alone (D36)."""
        mask, first = from_counts(old["counts"], old["size"]), tuple[Click, ...]()
        if not any(c[2] for c in draft.clicks[:n]):  # no click made it, so the network needs one
            first = ((*well_inside(mask), True),)
        for k in range(n, len(draft.clicks)):
            after = self._segmented(draft, (*first, *draft.clicks[: k + 1]), mask.shape)
            mask = corrected(mask, after, draft.clicks[k])
        return mask

    def _segmented(self, draft: Draft, clicks: tuple[Click, ...], shape: Sequence[int]) -> np.ndarray:
        """(H, W) bool, the network's mask after some clicks, of the image or of the crop that the draft is about."""
        draft = draft._replace(clicks=clicks, strokes=(), instance=None)
        if clicks and draft not in self.masks:
            mask, crop, inside = np.zeros(shape, bool), cropped(shape, draft.box), checked_clicks(clicks, shape)
            top, left, bottom, right = crop or (0, 0, *shape)
            if not all(top <= row < bottom and left <= col < right for row, col, _ in inside):
                line = f"a click outside of what the network looks at, {[top, left, bottom, right]}"
                raise RefusedError("outside", line)
            view = self.session.open(draft.image, draft.category, crop, draft.plain)
            moved = [(row - top, col - left, positive) for row, col, positive in inside]
            cut(mask, crop)[:] = self.session.session.segment(view, moved).cpu().numpy()
            self.masks[draft] = mask
        return self.masks[draft] if clicks else np.zeros(shape, bool)


def well_inside(mask: np.ndarray) -> tuple[int, int]:
    """A pixel far from the border of an (H, W) bool mask with foreground: the deepest of a grid's, which is quick."""
    step = max(1, max(mask.shape) // FINEST)
    while not mask[::step, ::step].any():  # thinner than the grid
        step //= 2
    depth = distance_transform(torch.from_numpy(mask[::step, ::step].copy()))
    row, col = divmod(int(depth.argmax()), depth.shape[1])
    return step * row, step * col
