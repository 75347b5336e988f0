"""annotator/learner.py: what a round behind the user's back learns from (Sec. 3.3, D25)."""

import numpy as np
import pytest

import session as module
from annotator.learner import Learner
from session import Session, Settings


@pytest.fixture
def learnt(monkeypatch):
    """The instances that each round was given, by number within their category."""
    rounds = []
    monkeypatch.setattr(
        module, "optimise", lambda net, memory, *rest: rounds.append([s.number for s in memory.samples])
    )
    return rounds


def test_a_round_learns_from_what_the_session_remembers_and_nothing_else(pristine, learnt, sequence):
    """Sec. 3.3: what a full memory dropped is forgotten by every later round, so that a restart changes no proposal."""
    settings = Settings(size=64, memory=3)
    session, learner = Session(pristine, settings), Learner(Session(pristine, settings))
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    for category in ("starfish",) * 2 + ("clover",) * 4:
        view = session.open(sequence[0].image, "an image", category)
        session.accept(view, [(20, 20, True)], mask)
        learner.start(session, category).result()
        assert learnt[-1] == [s.number for s in session.memory.samples if s.category == category]
    again = Learner(Session(pristine, settings))
    again.start(session, "clover").result()
    assert learnt[-1] == learnt[-2] == [2, 3, 4]
