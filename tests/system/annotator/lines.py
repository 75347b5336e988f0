"""Lines of annotations.jsonl."""

import numpy as np

from annotator.masks import to_counts

SQUARE = np.zeros((64, 64), bool)
SQUARE[25:40, 25:40] = True


def event(number, image, mask, category="starfish", **more):
    """A line as a finished instance writes it."""
    return {
        "event": "finish",
        "id": number,
        "image": image,
        "file": f"{image}.png",
        "category": category,
        "value": number,
        "clicks": [[0, 0, True]],
        "strokes": [],
        "proposal": None,
        "accepted": None,
        "seconds": {"first": 1.0, "after": None, "total": 2.0, "kind": "click", "valid": True},
        "plain": False,
        "size": list(mask.shape),
        "counts": to_counts(mask),
        **more,
    }
