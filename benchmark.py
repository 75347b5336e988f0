"""What a click and a batch of optimisation cost: Tabs. 2 and 7 beside the paper's.

Everything is measured in one run, the alternatives of a table in turn, so that ratios hold on a busy machine too; a
time is a median with its quartiles. Weights are random: no cost here depends on them. Ledgers have the seconds of runs.
"""

import argparse
import copy
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from clicks import click_map
from experiments import published
from experiments.deeplab import DeepLabV3Plus, counts
from experiments.sessions import Stopwatch
from experiments.tables import grid
from model import BACKBONES, SIZE, SIISNet, network_image, normalise, parameter_count
from opo import BATCH, Memory, click_loss, sgd, view_batch
from support.command_line import LineParser, default_device, device_name, progress, run_main, size_int

IMAGE = (375, 500)  # of the batches: the common size of PASCAL VOC and of LeedsButterfly
REPEATS, BATCH_REPEATS = 15, 5  # of a click, of a batch of optimisation


# ---- measuring -------------------------------------------------------------------------------------------------------


class Timing(NamedTuple):
    """Seconds: median and quartiles."""

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        """Such as `0.144 (0.143-0.146) s`, in milliseconds below a tenth of a second."""
        unit, factor = ("s", 1) if self.median >= 0.1 else ("ms", 1e3)
        median, low, high = (f"{v * factor:.3g}" for v in self)
        return f"{median} ({low}-{high}) {unit}"


class Bench:
    """What the parts share: where and how to measure, and a network with random weights."""

    def __init__(self, args: argparse.Namespace):
        self.device, self.size, self.name = torch.device(args.device), args.size, args.backbone
        self.repeats, self.batches = (3, 2) if args.quick else (REPEATS, BATCH_REPEATS)
        torch.manual_seed(0)
        self.net = SIISNet(self.name).to(self.device).requires_grad_(False).eval()

    def measure(self, cases: Mapping[str, Callable[[], Any]], label: str, repeats: int) -> dict[str, Timing]:
        """Time every case `repeats` times, in turn, after running each once."""
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for i in progress(range(repeats + 1), label, repeats + 1):
            for name, case in cases.items():
                watch = Stopwatch(self.device)
                case()
                watch.lap(name)
                if i:
                    seconds[name].append(watch.laps[name])
        return {name: Timing(*np.percentile(values, [50, 25, 75])) for name, values in seconds.items()}

    def printed(self, figures: Sequence[float] | None) -> Sequence[Any]:
        """The paper's figures, if it prints some and this is its network and size."""
        return figures if figures and (self.name, self.size) == (BACKBONES[0], SIZE) else [""] * 3

    def image(self) -> Tensor:
        """(3, h, w) uint8, network input of an image of noise of size IMAGE."""
        noise = np.random.default_rng(0).integers(0, 256, (*IMAGE, 3), dtype=np.uint8)
        return network_image(noise, self.size).to(self.device)


def disc(shape: Sequence[int], row: float, col: float, radius: float) -> Tensor:
    """(H, W) bool, True in a circle; centre in fractions of the sides, radius in fractions of the shorter."""
    rows, cols = torch.arange(shape[0])[:, None], torch.arange(shape[1])
    return (rows - row * shape[0]) ** 2 + (cols - col * shape[1]) ** 2 < (radius * min(shape)) ** 2


# ---- the parts -------------------------------------------------------------------------------------------------------


def tab2(bench: Bench) -> str:
    """Tab. 2: parameters, operations and seconds per click of the two networks, and what caching saves in ours."""
    x = torch.randn(1, 3, bench.size, bench.size, device=bench.device)
    E_0 = click_map([(bench.size // 2, bench.size // 3, True)], (bench.size, bench.size), device=bench.device)[None]
    other, net = DeepLabV3Plus(bench.name).to(bench.device).requires_grad_(False).eval(), bench.net
    with torch.inference_mode():
        F = net.features(x)
        R = net.purify(F)
        cases = {
            "DeepLab v3+": lambda: other(x, E_0),
            "ours": lambda: net(x, E_0),
            "ours, F cached": lambda: net.segment(net.purify(F), E_0),
            "ours, R cached": lambda: net.segment(R, E_0),
        }
        seconds = bench.measure(cases, "Tab. 2", bench.repeats)
    rows = []
    for name, (parameters, ops) in counts(bench.name, bench.size).items():
        figures = bench.printed(published.TAB_2.get(name))
        share = seconds[name].median / seconds["ours"].median
        ours = [f"{parameters / 1e6:.3f}", f"{ops / 1e9:.3f}", seconds[name], f"{share:.3f}"]
        rows.append([name, figures[0], ours[0], figures[1], ours[1], figures[2], *ours[2:]])
    columns = ["network", "params (M) paper", "params (M)", "FLOPs (G) paper", "FLOPs (G)", "s/click paper", "s/click"]
    return table(f"Tab. 2, one image of {bench.size}x{bench.size}", [*columns, "of ours"], rows)


def tab7(bench: Bench) -> str:
    """Tab. 7: seconds per batch of online optimisation."""
    memory, image, rng = Memory(), bench.image(), np.random.default_rng(0)
    with torch.no_grad():
        F = bench.net.features(normalise(image[None]))
    for i in range(4):
        mask = disc(IMAGE, 0.4 + 0.05 * i, 0.35 + 0.1 * i, 0.3).to(bench.device)
        memory.add(image, F, mask)
    local, whole = (copy.deepcopy(bench.net) for _ in range(2))
    parts = {  # name: network, what is optimised, whether the backbone runs
        "purification, cached features": (local, local.purification, False),
        "purification, backbone recomputed": (local, local.purification, True),
        "global": (whole, whole, True),
    }

    def batch(net: SIISNet, optimiser: torch.optim.Optimizer, from_images: bool) -> None:
        loss, _ = click_loss(net, view_batch(memory.draw(rng, BATCH), bench.size, rng, from_images))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    cases = {
        name: partial(batch, net, sgd(tuned.requires_grad_(True).parameters()), from_images)
        for name, (net, tuned, from_images) in parts.items()
    }
    seconds = bench.measure(cases, "Tab. 7", bench.batches)
    rows = []
    for name, s in seconds.items():
        figures = bench.printed(published.TAB_7_COSTS.get(name))
        share = f"{s.median / seconds['global'].median:.3f}"
        rows.append([name, figures[0], f"{parameter_count(parts[name][1]) / 1e6:.3f}", figures[1], s, share])
    columns = ["optimised", "params (M) paper", "params (M)", "s/batch paper", "s/batch", "of global"]
    return table("Tab. 7, batches of 8", columns, rows)


# ---- printing --------------------------------------------------------------------------------------------------------


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table of texts, numbers and times as Markdown."""
    return f"**{title}**\n\n{grid([columns, *rows])}\n"


def main(argv: Sequence[str] | None = None) -> None:
    """`python benchmark.py`: each table as soon as it is measured."""
    args = parse(argv)
    bench = Bench(args)
    device = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else args.device
    print(f"{device}, {torch.get_num_threads()} threads, PyTorch {torch.__version__}, {args.backbone}\n")
    for part in (tab2, tab7):
        print(part(bench), flush=True)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python benchmark.py`."""
    p = LineParser(prog="benchmark", description="Tabs. 2 and 7: minutes on two CPU cores.")
    p.add_argument("--device", type=device_name, default=default_device())
    p.add_argument("--size", type=size_int, default=SIZE, help="short side of the network input")
    p.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    p.add_argument("--quick", action="store_true", help="fewer repetitions: about a minute")
    return p.parse_args(argv)


if __name__ == "__main__":
    run_main(main, "benchmark")
