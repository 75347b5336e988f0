"""What a click and a batch of optimisation cost: Tabs. 2 and 7 beside the paper's, a click by part, one row (d).

Everything is measured in one run, the alternatives of a table in turn, so that ratios hold on a busy machine too; a
time is a median with its quartiles. Weights are random: no cost here depends on them.
"""

import argparse
import copy
import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from clicks import click_map
from data import LeedsButterfly, Sample, Synthetic
from experiments import published
from experiments.deeplab import DeepLabV3Plus, counts
from experiments.sessions import Measured, Stopwatch
from experiments.timings import Costs, Target, Timing, markdown, quartiles
from model import BACKBONES, SIZE, SIISNet, network_image, normalise, parameter_count, scale_to
from opo import BATCH, Memory, click_loss, sgd, view_batch
from robot_user import iou, next_click
from session import Settings, View
from siis import annotate_sequence
from support.command_line import LineParser, default_device, device_name, exclusive, progress, run_main, size_int
from support.files import atomic

IMAGE = (375, 500)  # of the click and of the batches: the common size of PASCAL VOC and of LeedsButterfly
INSTANCES = 8  # of LeedsButterfly in which operators are counted
REPEATS, BATCH_REPEATS = 15, 5  # of a click, of a batch of optimisation


# ---- counting and measuring ------------------------------------------------------------------------------------------


class Bench:
    """What the parts share: where and how to measure, a network with random weights, the samples of part row."""

    def __init__(self, args: argparse.Namespace):
        self.device, self.size, self.name = torch.device(args.device), args.size, args.backbone
        self.repeats, self.batches = (3, 2) if args.quick else (REPEATS, BATCH_REPEATS)
        self.instances = 3 if args.quick else INSTANCES
        self.data = "LeedsButterfly" if args.root else "the built-in sequence"
        n = self.instances + 1  # the first warms up
        samples = LeedsButterfly(args.root, n) if args.root else Synthetic(n, size=IMAGE[0])
        self.samples = OneCategory(samples, n)
        torch.manual_seed(0)
        self.net = SIISNet(self.name).to(self.device).requires_grad_(False).eval()

    def measure(
        self, cases: Mapping[str, Callable[[], Any]], label: str, repeats: int | None = None
    ) -> dict[str, Timing]:
        """Time every case `repeats` times, in turn, after running each once."""
        repeats = repeats or self.repeats
        seconds: dict[str, list[float]] = {name: [] for name in cases}
        for i in progress(range(repeats + 1), label, repeats + 1):
            for name, case in cases.items():
                watch = Stopwatch(self.device)
                case()
                watch.lap(name)
                if i:
                    seconds[name].append(watch.laps[name])
        return {name: quartiles(values) for name, values in seconds.items()}

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


def tab2(bench: Bench) -> Iterator[Costs | Target]:
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
        seconds = bench.measure(cases, "Tab. 2")
    rows = []
    for name, (parameters, ops) in counts(bench.name, bench.size).items():
        figures = bench.printed(published.TAB_2.get(name))
        share = seconds[name].median / seconds["ours"].median
        ours = [f"{parameters / 1e6:.3f}", f"{ops / 1e9:.3f}", seconds[name], f"{share:.3f}"]
        rows.append([name, figures[0], ours[0], figures[1], ours[1], figures[2], *ours[2:]])
    columns = ["network", "params (M) paper", "params (M)", "FLOPs (G) paper", "FLOPs (G)", "s/click paper", "s/click"]
    yield Costs(f"Tab. 2, one image of {bench.size}x{bench.size}", [*columns, "of ours"], rows)
    ratio = seconds["ours, R cached"].median / seconds["ours"].median
    yield Target("a click with R cached, of the whole network", ratio, 1 / 8)


def click(bench: Bench) -> Iterator[Costs | Target]:
    """What a click on an image of size IMAGE is made of, and what precedes the first one."""
    net, clicks = bench.net, [(90, 200, True), (300, 420, False), (200, 120, True)]
    gt, pred = (m.to(bench.device) for m in (disc(IMAGE, 0.5, 0.5, 0.33), disc(IMAGE, 0.45, 0.55, 0.3)))
    image, laps = bench.image(), list[dict[str, float]]()
    for _ in progress(range(bench.repeats + 1), "click", bench.repeats + 1):
        with torch.inference_mode():
            watch = Stopwatch(bench.device)
            F = net.features(normalise(image[None]))
            watch.lap("features, once per image")
            R = net.purify(F)
            watch.lap("purify, once per instance")
            E_0 = click_map(clicks, image.shape[-2:], IMAGE, bench.device)[None]
            watch.lap("click maps")
            z = net.segment(R, E_0)
            watch.lap("segment (the head)")
            _ = scale_to(z.sigmoid(), IMAGE)[0, 0] > 0.5
            watch.lap("sigmoid, resize to the image, P > 0.5")
            next_click(pred, gt, None, clicks)
            watch.lap("robot user: two distance transforms")
            iou(pred, gt)
            watch.lap("IoU")
        laps.append(watch.laps)
    seconds = {name: quartiles([lap[name] for lap in laps[1:]]) for name in laps[0]}
    once, parts = list(seconds)[:2], list(seconds)[2:]
    total = quartiles([sum(lap[name] for name in parts) for lap in laps[1:]])
    rows: list[list[Any]] = [[name, seconds[name], ""] for name in once]
    rows += [[name, seconds[name], f"{seconds[name].median / total.median:.3f}"] for name in parts]
    rows.append(["a click, all of it", total, "1.000"])
    yield Costs(f"A click on an image of {IMAGE[0]}x{IMAGE[1]}", ["part", "time", "of a click"], rows)
    head = seconds["segment (the head)"].median
    yield Target("a click without its head, of the head", total.median / head - 1, 1 / 2)


def tab7(bench: Bench) -> Iterator[Costs | Target]:
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
    yield Costs("Tab. 7, batches of 8", columns, rows)
    ratio = seconds["purification, cached features"].median / seconds["global"].median
    yield Target("a batch on cached features, of a global one", ratio, 1 / 10)


class OneCategory(Sequence[Sample]):
    """The first n samples of a data set as one category."""

    def __init__(self, samples: Sequence[Sample], n: int):
        self.samples, self.n = samples, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i):
        return self.samples[i]._replace(category="any")


class Scripted(Measured):
    """A session that costs what any other does, but whose mask is the truth from the second click on."""

    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """The network runs and is not believed."""
        mask = super().segment(view, clicks)
        return (
            torch.from_numpy(self.samples[self.done].mask).to(mask.device)
            if len(clicks) > 1
            else torch.zeros_like(mask)
        )


def row(bench: Bench) -> Iterator[Costs | Target]:
    """Row (d) of Tab. 1 by operator: what share of the time is spent in convolutions."""
    session = Scripted(bench.net, Settings(size=bench.size), bench.samples)
    records = annotate_sequence(session, bench.samples, 0.85)
    next(records)  # warms up
    clock = [torch.profiler.ProfilerActivity.CPU]
    if bench.device.type == "cuda":
        clock.append(torch.profiler.ProfilerActivity.CUDA)
    parts: dict[str, float] = {}
    with torch.profiler.profile(activities=clock, acc_events=True) as profile:
        start = time.perf_counter()
        for _ in progress(records, "row (d)", bench.instances):
            parts = {k: parts.get(k, 0) + v for k, v in session.watch.laps.items()}
        total = time.perf_counter() - start
    key = "self_device_time_total" if bench.device.type == "cuda" else "self_cpu_time_total"
    events = [e for e in profile.key_averages() if e.device_type == torch.autograd.DeviceType.CPU]  # no kernel twice
    seconds = {e.key: getattr(e, key) / 1e6 for e in events}
    convolutions = sum(s for name, s in seconds.items() if "conv" in name)
    others = sorted((s, name) for name, s in seconds.items() if "conv" not in name)[:-9:-1]
    rows = [["convolutions", f"{convolutions:.2f} s", f"{convolutions / total:.3f}"]]
    rows += [[name, f"{s:.2f} s", f"{s / total:.3f}"] for s, name in others]
    rows += [[f"by part: {name}", f"{s:.2f} s", f"{s / total:.3f}"] for name, s in parts.items()]
    title = f"Row (d), {bench.instances} instances of {bench.data}, two clicks each"
    yield Costs(title, ["operator", "time", "of all"], rows)
    yield Target("row (d): convolutions, of all its time", convolutions / total, 0.9, least=True)


PARTS: dict[str, Callable[[Bench], Iterator[Costs | Target]]] = {
    "tab2": tab2,
    "click": click,
    "tab7": tab7,
    "row": row,
}


# ---- printing --------------------------------------------------------------------------------------------------------


def as_json(args: argparse.Namespace, tables: Sequence[Costs]) -> dict[str, Any]:
    """Everything printed, and where it was measured; a Timing as its three numbers."""
    device = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else args.device
    about = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    about |= {"backbone": args.backbone, "size": args.size, "quick": args.quick}
    return about | {"tables": [t.plain() for t in tables]}


def run(parts: Sequence[str], bench: Bench) -> Iterator[Costs]:
    """The tables of some parts, each as soon as it is measured, and the targets at the end."""
    targets = []
    for part in (p for p in PARTS if p in parts):
        for result in PARTS[part](bench):
            if isinstance(result, Target):
                targets.append(result.row())
            else:
                yield result
    if targets and bench.device.type == "cpu":  # a GPU of today waits for the CPU in most of these
        yield Costs("Targets: ratios within this run", ["target", "should be", "is", ""], targets)


def main(argv: Sequence[str] | None = None) -> None:
    """`python benchmark.py`: all tables on stdout, and as JSON."""
    args = parse(argv)
    bench, tables = Bench(args), []
    with exclusive(args.out, args.out.with_name(f".{args.out.name}.lock")):  # refused before anything is measured
        for table in run(args.parts, bench):
            tables.append(table)
            print(markdown(table), flush=True)
        with atomic(args.out) as temporary:
            temporary.write_text(json.dumps(as_json(args, tables), indent=1) + "\n", encoding="utf-8")
    print(f"benchmark: {args.out}", file=sys.stderr)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python benchmark.py`."""
    p = LineParser(prog="benchmark", description="Tabs. 2 and 7, a click by part, row (d): minutes on two CPU cores.")
    p.add_argument("--device", type=device_name, default=default_device())
    p.add_argument("--size", type=size_int, default=SIZE, help="short side of the network input")
    p.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    p.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    p.add_argument("--quick", action="store_true", help="fewer repetitions: about a minute")
    p.add_argument("--root", type=Path, help="folder of LeedsButterfly for part row; without it the built-in sequence")
    p.add_argument("--out", type=Path, default=Path("runs/benchmark.json"), help="the tables as JSON")
    args = p.parse_args(argv)
    if args.root and "row" not in args.parts:
        p.error(f"argument --root: {args.root}: only part row reads it")
    return args


if __name__ == "__main__":
    run_main(main, "benchmark")
