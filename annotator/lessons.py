"""What one accepted instance teaches, of the whole image or of the part that was in view (D19, D20, D32)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from annotator.checks import Box
from annotator.history import Event
from annotator.masks import from_counts
from opo import Finished
from session import Session, View

MARGIN = 0.1  # of a box's sides, on each side: what the network sees around what was in view
LEAST = 16  # pixels of a side


class Lesson(NamedTuple):
    """What an instance teaches."""

    vector: Tensor | None  # of its first foreground click, for the bank (D19)
    sample: Finished | None  # for online optimisation (D20); None if it has been forgotten


def taught(session: Session, event: Event, view: View, part: View | None, crop: Box | None) -> Lesson:
    """What an instance teaches a session, whose bank of the category and memory hold nothing else afterwards.

    view:  of the whole image, in which proposals are made, so that the vector is the whole one's.
    part:  of the crop that its clicks and mask were made in, or None; the sample is then the crop's.
    """
    bank, memory = session.category(event["category"]).bank, session.memory
    mask = from_counts(event["counts"], event["size"])
    bank.clear()
    memory.samples.clear()
    session.ignore.clear()
    session.accept(view, event["clicks"], mask)
    if part is not None:
        memory.samples.clear()
        memory.add(part.image, part.F, torch.from_numpy(cut(mask, crop).copy()), event["category"])
    return Lesson(next(iter(bank), None), next(iter(memory.samples), None))


def cropped(shape: Sequence[int], box: Sequence[int] | None) -> Box | None:
    """What the network looks at instead of a whole image of size `shape`: a box with a margin, inside it (D37)."""
    if box is None:
        return None
    y, x = (round(MARGIN * side) for side in (box[2] - box[0], box[3] - box[1]))
    top, left = max(0, box[0] - y), max(0, box[1] - x)
    bottom, right = min(shape[0], box[2] + y), min(shape[1], box[3] + x)
    if bottom - top < min(LEAST, shape[0]) or right - left < min(LEAST, shape[1]):
        raise ValueError(f"box {list(box)}: less than {LEAST} pixels of the image of {shape[0]}x{shape[1]}")
    return top, left, bottom, right


def cut(picture: np.ndarray, crop: Box | None) -> np.ndarray:
    """The part of an (H, W, ...) picture in a crop."""
    return picture if crop is None else picture[crop[0] : crop[2], crop[1] : crop[3]]


def mark(event: Event) -> str:
    """What an instance's vector is known by in a file: with another first click it has another."""
    return f"{event['id']} {next((c for c in event['clicks'] if c[2]), None)}"


def sample_bytes(sample: Finished) -> int:
    """What a sample takes in memory."""
    return sum(t.nbytes for t in (sample.image, sample.mask, *sample.features))
