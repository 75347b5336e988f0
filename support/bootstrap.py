"""95 % intervals by drawing instances again (D29)."""

from collections.abc import Callable

import numpy as np

DRAWS = 2000


def bootstrap(
    values: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = lambda m: m[..., 0]
) -> tuple[float, float]:
    """95 % interval of a statistic of means over instances, which are drawn with replacement (percentiles).

    values:     (n, k): k values of each of n instances; drawing rows keeps the pairs, so that the difference of two
                runs has an interval of its own. Seeds stay as they are: average over them first.
    statistic:  (draws, k) means -> (draws,); without it the first mean.
    The generator is new each time, so that no interval depends on another.
    """
    n, rng = len(values), np.random.default_rng(0)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=DRAWS)
    low, high = np.percentile(statistic(counts @ values / n), [2.5, 97.5])
    return float(low), float(high)
