"""Training at toy size, shared by the tests of training."""

import numpy as np

from data import Sample


def rngs(n, seed=0):
    """n generators, one an instance."""
    return [np.random.default_rng([seed, i]) for i in range(n)]


def small(recipe, samples, **more):
    """A recipe at toy size on built-in scenes."""
    few = {"data": "Synthetic", "samples": samples, "backbone": "resnet18", "size": 64, "amp": False}
    return recipe._replace(**few)._replace(**more)


def chart(seed=0):
    """A 64 x 96 sample whose image tells the mask, the row and the column of each of its pixels."""
    rng = np.random.default_rng(seed)
    mask = rng.random((64, 96)) < 0.3
    image = np.stack([mask * 255, *np.mgrid[:64, :96]], axis=-1).astype(np.uint8)
    return Sample(image, mask, (rng.random((64, 96)) < 0.3) & ~mask, "chart", f"chart-{seed}")


def command(folder, *more, recipe="paper"):
    fixed = ["--data", "Synthetic", "--recipe", recipe, "--backbone", "resnet18", "--limit", "8", "--batch", "4"]
    fixed += ["--val", "1", "--size", "64", "--epochs", "2", "--device", "cpu", "--workers", "0", "--init", "none"]
    return [*fixed, "--out", str(folder / "out.pt"), *more]
