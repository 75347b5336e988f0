"""Sec. 4: the file of a run, and the orders of a sequence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from experiments.ledger import NEEDED, Ledger, Run, order

RUN = Run("d", 0.3, 1)


def line(place, name="x", category="a"):
    """A record of an instance that nobody annotated."""
    own = {"index": place, "instance": place, "name": name, "category": category}
    return dict.fromkeys(NEEDED - {"config", "length", *Run._fields}) | own


@given(st.text("abc", max_size=12), st.integers(1, 10**6))
def test_an_order_keeps_categories_together_and_every_instance_once(categories, number):
    """D27, D29: "--orders N": file order and N - 1 drawn ones, within each category."""
    drawn = order(categories, number)
    assert sorted(drawn) == list(range(len(categories))) == order(categories, 0)
    assert [categories[i] for i in drawn] == list(categories)
    assert order(categories, number) == drawn
    assert order("x" * 30, number) != order("x" * 30, number + 1)


def test_records_are_of_the_instances_that_stand_at_their_places(tmp_path):
    """A ledger of other images under the same settings is refused."""
    held = Ledger(tmp_path, {}, [("x", "a"), ("y", "a")])
    held.append(RUN._replace(order=1), line(0, "y") | {"instance": 1})
    Ledger(tmp_path, {}, [("x", "a"), ("y", "a")])
    for labels in ([("y", "a"), ("x", "a")], [("x", "a")], [("x", "a"), ("y", "b")]):
        with pytest.raises(ValueError, match=r"^--out .* holds results of other instances \(y at place 2\)"):
            Ledger(tmp_path, {}, labels)
