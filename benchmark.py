"""What a click, a proposal and a round of optimisation cost: Tabs. 2 and 7 beside the paper's figures, and the rest.

Everything is measured in one run, the alternatives of a table in turn, so that ratios hold on a busy machine too; a
time is a median with its quartiles. Weights are random: no cost here depends on them.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from data import LeedsButterfly, Sample, Synthetic
from experiments import published
from experiments.deeplab import DeepLabV3Plus, counts
from experiments.tables import grid
from icp import ClickBank, confidence_map, propose
from model import (
    BACKBONES,
    SIZE,
    SIISNet,
    click_map,
    network_image,
    normalise,
    parameter_count,
    scale_to,
)
from opo import Memory, optimise
from robot_user import distance_transform, iou, next_click
from session import Session, Settings, View
from siis import Stopwatch, annotate_sequence
from support.command_line import LineParser, default_device, device_name, exclusive, progress, run_main, size_int
from support.files import atomic

IMAGE = (375, 500)  # of the click and of the batches: the common size of PASCAL VOC and of LeedsButterfly
SIDES = (128, 256, 512, 1024, 2048)  # of images for the robot user and for proposals
BANKS = (1, 10, 100, 1_000, 10_000)  # first clicks in the bank
LENGTHS = (50, 100, 200, 500, 1_000, 2_000)  # instances of a growing sequence, its memory full at the first
GROWTH = ("resnet18", 64, 50)  # backbone, input size and memory of that sequence: 2,000 instances are soon done
INSTANCES = 8  # of LeedsButterfly in which operators are counted
REPEATS, BATCH_REPEATS = 15, 5  # of a click, of a batch of optimisation


class Timing(NamedTuple):
    """Seconds: median and quartiles."""

    median: float
    low: float
    high: float


class Table(NamedTuple):
    """What is printed as Markdown and written as JSON: a cell is a text, a number or a Timing."""

    title: str
    columns: list[str]
    rows: list[list[Any]]


class Target(NamedTuple):
    """A ratio within this run and what it should be at most, or at least."""

    what: str
    ratio: float
    bound: float
    least: bool = False

    def row(self) -> list[Any]:
        """Its line in the table of targets."""
        met = self.ratio >= self.bound if self.least else self.ratio <= self.bound
        bound = f"at {'least' if self.least else 'most'} {self.bound:.3f}"
        return [self.what, bound, f"{self.ratio:.3f}", "met" if met else "not met"]


# ---- counting and measuring ------------------------------------------------------------------------------------------


def quartiles(values: Sequence[float]) -> Timing:
    """Median and quartiles."""
    if len(values) == 1:
        return Timing(*values, *values, *values)
    low, median, high = statistics.quantiles(values, n=4, method="inclusive")
    return Timing(median, low, high)


class Bench:
    """What the parts share: where and how to measure, a network with random weights, the samples of part row."""

    def __init__(self, args: argparse.Namespace):
        self.device, self.size, self.name = torch.device(args.device), args.size, args.backbone
        self.repeats, self.batches = (3, 2) if args.quick else (REPEATS, BATCH_REPEATS)
        self.lengths = LENGTHS[:2] if args.quick else LENGTHS
        self.sides = SIDES[:4] if args.quick else SIDES
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


def tab2(bench: Bench) -> Iterator[Table | Target]:
    """Tab. 2: parameters, operations and seconds per click of the two networks, and what a click spares in ours."""
    x = torch.randn(1, 3, bench.size, bench.size, device=bench.device)
    E_0 = click_map([(bench.size // 2, bench.size // 3, True)], (bench.size, bench.size), device=bench.device)[None]
    other, net = DeepLabV3Plus(bench.name).to(bench.device).requires_grad_(False).eval(), bench.net
    with torch.inference_mode():
        F = net.features(x)
        R = net.purify(F)
        cases = {
            "DeepLab v3+": lambda: other(x, E_0),
            "ours": lambda: net(x, E_0),
            "ours, F held": lambda: net.segment(net.purify(F), E_0),
            "ours, R held": lambda: net.segment(R, E_0),
        }
        seconds = bench.measure(cases, "Tab. 2")
    rows = []
    for name, (parameters, ops) in counts(bench.name, bench.size).items():
        figures = bench.printed(published.TAB_2.get(name))
        share = seconds[name].median / seconds["ours"].median
        ours = [f"{parameters / 1e6:.3f}", f"{ops / 1e9:.3f}", seconds[name], f"{share:.3f}"]
        rows.append([name, figures[0], ours[0], figures[1], ours[1], figures[2], *ours[2:]])
    columns = ["network", "params (M) paper", "params (M)", "FLOPs (G) paper", "FLOPs (G)", "s/click paper", "s/click"]
    yield Table(f"Tab. 2, one image of {bench.size}x{bench.size}", [*columns, "of ours"], rows)
    ratio = seconds["ours, R held"].median / seconds["ours"].median
    yield Target("a click with R held, of the whole network", ratio, 1 / 8)


def click(bench: Bench) -> Iterator[Table | Target]:
    """What a click on an image of size IMAGE is made of, and what precedes the first one."""
    net, clicks = bench.net, [(90, 200, True), (300, 420, False), (200, 120, True)]
    gt, pred = (m.to(bench.device) for m in (disc(IMAGE, 0.5, 0.5, 0.33), disc(IMAGE, 0.45, 0.55, 0.3)))
    image, laps = bench.image(), list[dict[str, float]]()
    for _ in progress(range(bench.repeats + 1), "click", bench.repeats + 1):
        with torch.inference_mode():
            watch = Stopwatch(bench.device)
            F = net.features(normalise(image[None]))
            watch.lap("features, once an image")
            R = net.purify(F)
            watch.lap("purify, once an instance")
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
    yield Table(f"A click on an image of {IMAGE[0]}x{IMAGE[1]}", ["part", "time", "of a click"], rows)
    head = seconds["segment (the head)"].median
    yield Target("a click without its head, of the head", total.median / head - 1, 1 / 2)


def tab7(bench: Bench) -> Iterator[Table | Target]:
    """Tab. 7: seconds per batch of online optimisation."""
    memory, image = Memory(), bench.image()
    with torch.no_grad():
        F = bench.net.features(normalise(image[None]))
    for i in range(4):
        mask = disc(IMAGE, 0.4 + 0.05 * i, 0.35 + 0.1 * i, 0.3).to(bench.device)
        memory.add(image, F, mask, torch.zeros_like(mask))
    nets = {"purification": bench.net, "global": SIISNet(bench.name).to(bench.device).requires_grad_(False)}
    rng = np.random.default_rng(0)

    def batch(scope: str, augment: bool = False) -> None:
        optimise(nets[scope], memory, rng, bench.size, scope, augment, iterations=1)

    cases = {
        "purification, cached features": partial(batch, "purification"),
        "purification, backbone recomputed": partial(batch, "purification", augment=True),
        "global": partial(batch, "global"),
    }
    seconds = bench.measure(cases, "Tab. 7", bench.batches)
    rows = []
    for name, s in seconds.items():
        scope = bench.net if name == "global" else bench.net.purification
        figures = bench.printed(published.TAB_7_COSTS.get(name))
        share = f"{s.median / seconds['global'].median:.3f}"
        rows.append([name, figures[0], f"{parameter_count(scope) / 1e6:.3f}", figures[1], s, share])
    columns = ["optimised", "params (M) paper", "params (M)", "s/batch paper", "s/batch", "of global"]
    yield Table("Tab. 7, batches of 8", columns, rows)
    ratio = seconds["purification, cached features"].median / seconds["global"].median
    yield Target("a batch on cached features, of a global one", ratio, 1 / 10)


def robot(bench: Bench) -> Iterator[Table | Target]:
    """The robot user's distance transform against SciPy's, which runs on the CPU."""
    try:
        from scipy.ndimage import distance_transform_edt
    except ImportError:
        distance_transform_edt = None
    rows = []
    for side in bench.sides:
        gt, pred = disc((side, side), 0.5, 0.5, 0.33), disc((side, side), 0.45, 0.55, 0.3)
        for name, mask in (("half an object missed", gt & ~pred), ("all of it missed", gt)):
            ours, theirs = mask.to(bench.device), mask.numpy()
            cases: dict[str, Callable[[], Any]] = {"ours": partial(distance_transform, ours)}
            if distance_transform_edt is not None:
                cases["SciPy"] = partial(distance_transform_edt, theirs)
            s = bench.measure(cases, f"distances {side}", min(bench.repeats, 5))
            ratio = f"{s['ours'].median / s['SciPy'].median:.2f}" if "SciPy" in s else ""
            rows.append([f"{side}x{side}", name, s["ours"], s.get("SciPy", "not installed"), ratio])
    yield Table("Distance transform", ["image", "error", "ours", "SciPy", "ours of SciPy's"], rows)


def proposal(bench: Bench) -> Iterator[Table | Target]:
    """A proposal (confidence map and argmax) against the number of clicks in the bank and the size of the image."""
    g = torch.Generator().manual_seed(0)
    R_4 = torch.rand(256, bench.size // 16, bench.size // 16, generator=g).to(bench.device)
    bank, banks = ClickBank(), {}
    for n in BANKS:
        for vector in torch.rand(n - len(bank), 256, generator=g).to(bench.device):
            bank.add([vector])
        banks[n] = ClickBank.from_state(bank.state())
    ignore = {
        size: torch.zeros(size, dtype=torch.bool, device=bench.device) for size in [IMAGE, *((n, n) for n in SIDES)]
    }

    def ask(bank: ClickBank, size: tuple[int, int]) -> None:
        propose(confidence_map(bank, [R_4], size), ignore[size])

    by_bank = bench.measure({f"{n:,}": partial(ask, banks[n], IMAGE) for n in BANKS}, "banks", 5 * bench.repeats)
    rows = [[f"{IMAGE[0]}x{IMAGE[1]}", n, seconds] for n, seconds in by_bank.items()]
    by_size = bench.measure({f"{n}x{n}": partial(ask, bank, (n, n)) for n in bench.sides}, "images")
    rows += [[size, f"{len(bank):,}", seconds] for size, seconds in by_size.items()]
    yield Table("A proposal", ["image", "clicks in the bank", "time"], rows)
    first, *_, last = by_bank.values()
    yield Target(f"a proposal with {len(bank):,} clicks in the bank, of one with 1", last.median / first.median, 1.1)


class OneCategory(Sequence[Sample]):
    """The first n samples of a data set as one category; remembers the one it gave last."""

    def __init__(self, samples: Sequence[Sample], n: int):
        self.samples, self.n = samples, n

    def __len__(self) -> int:
        return self.n

    def __getitem__(self, i):
        self.last = self.samples[i]._replace(category="any")
        return self.last


class Scripted(Session):
    """A session that costs what any other does, but whose mask is the truth from the second click on."""

    def __init__(self, net: SIISNet, settings: Settings, samples: OneCategory):
        super().__init__(net, settings)
        self.samples = samples

    def segment(self, view: View, clicks: Sequence[Sequence]) -> Tensor:
        """The network runs and is not believed."""
        mask = super().segment(view, clicks)
        return torch.from_numpy(self.samples.last.mask).to(mask.device) if len(clicks) > 1 else torch.zeros_like(mask)


def growth(bench: Bench) -> Iterator[Table | Target]:
    """Row (d) over a growing sequence: flat in time and, once the memory is full, in space."""
    name, size, capacity = GROWTH
    torch.manual_seed(0)
    net = SIISNet(name).to(bench.device).requires_grad_(False)
    samples = OneCategory(Synthetic(bench.lengths[-1], size=size), bench.lengths[-1])
    session = Scripted(net, Settings(size=size, memory=capacity), samples)
    rows, peaks, seconds, last = [], list[float](), list[float](), time.perf_counter()
    for done, _ in enumerate(progress(annotate_sequence(session, samples, 0.85), "growth", len(samples)), start=1):
        seconds.append(time.perf_counter() - last)
        last = time.perf_counter()
        if done in bench.lengths:
            memory = session.category("any").memory
            held = sum(t.nbytes for s in memory.samples for t in (s.image, s.mask, s.void, *s.features))
            peaks.append(peak(bench.device))
            rows.append([f"{done:,}", quartiles(seconds), len(memory), f"{held / 2**20:.2f}", f"{peaks[-1]:.0f}"])
            seconds, last = [], time.perf_counter()
    what = f"{name}, input {size}, memory of {capacity}"
    columns = ["instances", "s/instance since the line above", "samples in memory", "their MiB", "peak MiB in all"]
    yield Table(f"A growing sequence ({what})", columns, rows)
    yield Target("peak memory after the longest sequence, of the shortest", peaks[-1] / peaks[0], 1.1)


def peak(device: torch.device) -> float:
    """MiB that torch held on a GPU at most, or this process in RAM."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    import resource  # not on Windows

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def row(bench: Bench) -> Iterator[Table | Target]:
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
        for record in progress(records, "row (d)", bench.instances):
            parts = {k: parts.get(k, 0) + v for k, v in record["seconds"].items()}
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
    yield Table(title, ["operator", "time", "of all"], rows)
    yield Target("row (d): convolutions, of all its time", convolutions / total, 0.9, least=True)


PARTS: dict[str, Callable[[Bench], Iterator[Table | Target]]] = {
    "growth": growth,  # always first: a peak of memory never falls
    "tab2": tab2,
    "click": click,
    "tab7": tab7,
    "robot": robot,
    "proposal": proposal,
    "row": row,
}


# ---- printing --------------------------------------------------------------------------------------------------------


def markdown(table: Table) -> str:
    """A table as Markdown."""
    return f"**{table.title}**\n\n{grid(table.columns, [[show(c) for c in row] for row in table.rows])}\n"


def show(cell: Any) -> str:
    """A cell as text: `0.0441 (0.0432-0.0459) s`, in milliseconds below a tenth of a second."""
    if not isinstance(cell, Timing):
        return str(cell)
    unit, factor = ("s", 1) if cell.median >= 0.1 else ("ms", 1e3)
    median, low, high = (f"{v * factor:.3g}" for v in cell)
    return f"{median} ({low}-{high}) {unit}"


def as_json(args: argparse.Namespace, tables: Sequence[Table]) -> dict[str, Any]:
    """Everything printed, and where it was measured; a Timing as its three numbers."""
    device = torch.cuda.get_device_name(args.device) if args.device.startswith("cuda") else args.device
    about = {"device": device, "threads": torch.get_num_threads(), "torch": torch.__version__}
    about |= {"backbone": args.backbone, "size": args.size, "quick": args.quick}
    plain = [[[c._asdict() if isinstance(c, Timing) else c for c in line] for line in t.rows] for t in tables]
    return about | {"tables": [t._asdict() | {"rows": lines} for t, lines in zip(tables, plain, strict=True)]}


def run(parts: Sequence[str], bench: Bench) -> Iterator[Table]:
    """The tables of some parts, each as soon as it is measured, and the targets at the end."""
    targets = []
    for part in (p for p in PARTS if p in parts):
        for result in PARTS[part](bench):
            if isinstance(result, Target):
                targets.append(result.row())
            else:
                yield result
    if targets:
        yield Table("Targets: ratios within this run", ["target", "should be", "is", ""], targets)


def main(argv: Sequence[str] | None = None) -> None:
    """`python benchmark.py`: all tables on stdout, and as JSON."""
    args = parse(argv)
    bench, tables = Bench(args), []
    with exclusive(args.out, args.out.with_name(f".{args.out.name}.lock")):  # told before it is measured
        for table in run(args.parts, bench):
            tables.append(table)
            print(markdown(table), flush=True)
        with atomic(args.out) as temporary:
            temporary.write_text(json.dumps(as_json(args, tables), indent=1) + "\n")
    print(f"benchmark: {args.out}", file=sys.stderr)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python benchmark.py`."""
    p = LineParser(
        prog="benchmark", description="Tabs. 2 and 7 and every other cost; about ten minutes on two CPU cores."
    )
    p.add_argument("--device", type=device_name, default=default_device())
    p.add_argument("--size", type=size_int, default=SIZE, help="short side of the network input")
    p.add_argument("--backbone", choices=BACKBONES, default=BACKBONES[0])
    p.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART", help=", ".join(PARTS))
    p.add_argument("--quick", action="store_true", help="fewer repetitions, shorter sequences: two or three minutes")
    p.add_argument("--root", type=Path, help="folder of LeedsButterfly for part row; without it the built-in sequence")
    p.add_argument("--out", type=Path, default=Path("runs/benchmark.json"), help="the tables as JSON")
    args = p.parse_args(argv)
    if args.root and "row" not in args.parts:
        p.error(f"argument --root: {args.root}: only part row reads it")
    return args


if __name__ == "__main__":
    run_main(main, "benchmark")
