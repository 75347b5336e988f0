"""Sec. 4: the orders of a sequence."""

from hypothesis import given
from hypothesis import strategies as st

from experiments.ledger import order


@given(st.text("abc", max_size=12), st.integers(1, 10**6))
def test_an_order_keeps_categories_together_and_every_instance_once(categories, number):
    """D27, D29: "--orders N": file order and N - 1 drawn ones, within each category."""
    drawn = order(categories, number)
    assert sorted(drawn) == list(range(len(categories))) == order(categories, 0)
    assert [categories[i] for i in drawn] == list(categories)
    assert order(categories, number) == drawn
    assert order("x" * 30, number) != order("x" * 30, number + 1)
