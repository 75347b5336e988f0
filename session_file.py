"""Sec. 4.3: a session as a file, so that a sequence can be interrupted and continued.

Knows what is in the file; `Session.save` and `Session.load` are for all other code.
"""

import os
from collections import deque
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from icp import ClickBank
from opo import Memory
from support.files import read_tensors

SESSION_FORMAT = "siis-session-3"


def content(session: Any) -> dict[str, Any]:
    """What is saved of a `Session`: plain values and tensors; those of the session do not change them afterwards."""
    bits = np.frombuffer(b"".join(bits for _, bits in session.ignore.values()), np.uint8)
    states = {name: state.copy() for name, state in session.categories.items()}
    return {
        "format": SESSION_FORMAT,
        "settings": asdict(session.settings),
        "net": session.digest,
        "done": session.done,
        "ignore": [(*place, *shape, len(bits)) for place, (shape, bits) in session.ignore.items()],
        "bits": torch.from_numpy(bits.copy()),
        "memory": session.memory.state(),
        "categories": {
            name: {**vars(c), "bank": c.bank.state(), "history": list(c.history), "pending": list(c.pending)}
            for name, c in states.items()
        },
    }


def read(path: str | os.PathLike[str], device: torch.device) -> dict[str, Any]:
    """The content of a file. Raises OSError if it cannot be opened, ValueError if it is foreign, cut short or old."""
    found = read_tensors(path, device)
    saved = found.get("format") if isinstance(found, dict) else None
    if saved == SESSION_FORMAT:
        return found
    old = isinstance(saved, str) and saved.startswith("siis-session-")
    what = f"saved by another version ({saved}); remove it and start again" if old else "not a saved session"
    raise ValueError(f"{path}: {what}")


def restore(session: Any, content: dict[str, Any]) -> None:
    """Fill a new `Session` of the same settings and network; features are computed again from the images."""
    for name, c in content["categories"].items():
        state = session.category(name)
        state.bank, state.finished = ClickBank.from_state(c["bank"]), c["finished"]
        state.history, state.pending = deque(c["history"], session.settings.delta), deque(map(tuple, c["pending"]))
    features = (lambda _: []) if session.settings.from_images else session.features
    session.memory, session.done = Memory.from_state(content["memory"], features), content["done"]
    bits, start = content["bits"].cpu().numpy().tobytes(), 0
    for *place, H, W, length in content["ignore"]:
        session.ignore[tuple(place)] = (H, W), bits[start : start + length]
        start += length
