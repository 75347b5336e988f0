"""Lines of annotations.jsonl."""

from annotator.masks import to_counts


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
