"""Sessions at toy size, and what two of them have in common."""

import dataclasses

import torch

from clicks import Click
from session import Settings

SETTINGS = Settings(size=64)


def settings(**changes):
    return dataclasses.replace(SETTINGS, **changes)


def finish(session, sample, clicks=None):
    """Annotate a sample perfectly: the accepted mask is the ground truth."""
    view = session.open(sample.image, sample.name, sample.category)
    row, col = sample.mask.nonzero()
    clicks = clicks or [Click(int(row[0]), int(col[0]), True)]
    session.finish(view, clicks, sample.mask)
    return view


def calls_of(module):
    """A list that grows with each call of the module."""
    calls = []
    module.register_forward_hook(lambda *_: calls.append(1))
    return calls


def state_of(module):
    return {k: v.clone() for k, v in module.state_dict().items()}


def same_state(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def momenta(learnt):
    return [state["momentum_buffer"] for _, state in sorted(learnt.optimiser["state"].items())]


def same(a, b):
    """Whether two rounds have learnt the same: parameters and momentum."""
    return same_state(a.parameters, b.parameters) and all(map(torch.equal, momenta(a), momenta(b)))
