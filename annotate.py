"""Secs. 3.2 and 3.3 for a person: annotate a folder of images in the browser.

    python annotate.py photos/ --categories butterfly leaf      opens the page; Ctrl-C ends it, nothing is lost
    python annotate.py photos/ --export coco yolo labelme       writes what is annotated in other formats

The annotations are in photos-annotations/ (see `annotator.store`). The same command resumes where it stopped.
"""

import argparse
import webbrowser
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from annotator import export, statistics
from annotator.course import Course
from annotator.server import Server
from annotator.store import Store
from annotator.work import Work
from model import SIZE, digest
from session import Session, Settings
from support.command_line import LineParser, default_device, device_name, exclusive, run_main, size_int
from training.checkpoints import SHIPPED, description, open_network

DELTA = 2  # D25: what is learned from an instance takes effect when the next one is finished


def main(argv: Sequence[str] | None = None) -> None:
    """`python annotate.py FOLDER`."""
    args = parse(argv)
    out = args.out or args.folder.resolve().with_name(f"{args.folder.resolve().name}-annotations")
    if not args.folder.is_dir():
        raise ValueError(f"{args.folder}: no such folder; name one that holds images")
    with exclusive(out, out / "lock"):
        store = Store(args.folder, out)
        if args.export:
            for name in args.export:
                print(export.FORMATS[name](store))
            return
        if args.summary:
            print(statistics.summary(store.live))
            return
        serve(args, store)


def serve(args: argparse.Namespace, store: Store) -> None:
    """Answer the page until Ctrl-C."""
    net, meta = open_network(args.weights)
    net, size = net.to(args.device), args.size or meta.get("size", SIZE)
    settings, known = Settings(size=size, seed=args.seed), digest(net)
    recipe = {
        "net": known,
        "weights": (args.weights or SHIPPED).name,
        "size": size,
        "delta": DELTA,
        "seed": args.seed,
    }
    course = Course(partial(Session, net, known=known), partial(Session.load, net=net), settings, store)
    work = Work(course, args.categories, args.study, recipe)
    server = Server(work, args.port)
    if store.live:
        print(f"annotate: repeating {len(store.live)} finished instances")
    server.worker.submit(course.replay).result()
    print(f"annotate: {description(args.weights)}")
    print(f"annotate: {server.address}   (Ctrl-C ends)", flush=True)
    if not args.no_browser:
        webbrowser.open(server.address)
    try:
        server.serve_forever()
    finally:
        server.end(wait=False)
        print("\n" + statistics.summary(store.live) if store.live else "")


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python annotate.py`."""
    p = LineParser(prog="annotate", description="Annotate a folder of images by clicks, in the browser.")
    p.add_argument("folder", type=Path, help="holds the images")
    p.add_argument("--categories", nargs="+", type=category_name, default=["object"], help="what is annotated")
    p.add_argument("--weights", type=Path, help="checkpoint of train.py; without it the network that ships")
    p.add_argument("--device", type=device_name, default=default_device(), help="a torch device")
    p.add_argument("--size", type=size_int, help="short side of the network input; without it the checkpoint's")
    p.add_argument("--out", type=Path, help="folder for the annotations; without it FOLDER-annotations")
    p.add_argument("--port", type=port_number, default=8765, help="of the page, on this machine only; 0: any free one")
    p.add_argument("--no-browser", action="store_true", help="only print the address")
    p.add_argument("--study", action="store_true", help="a fifth of the instances without proposal and optimisation")
    p.add_argument("--seed", type=int, default=0, help="of optimisation and of --study")
    p.add_argument("--export", nargs="+", choices=export.FORMATS, help="write other formats into --out and end")
    p.add_argument("--summary", action="store_true", help="print clicks and seconds, and our Tab. 4, and end")
    args = p.parse_args(argv)
    if len(set(args.categories)) < len(args.categories):
        p.error(f"--categories {' '.join(args.categories)}: one is named twice")
    return args


def category_name(text: str) -> str:
    """argparse type: a name that a folder can have."""
    if not 1 <= len(text) <= 64 or text[0] in ". " or text[-1] in ". " or set(text) & set('/\\:*?"<>|\0\n\r\t'):
        raise argparse.ArgumentTypeError(f"{text!r}: expected a name that a folder can have, of at most 64 characters")
    return text


def port_number(text: str) -> int:
    """argparse type: a port, 0 for any free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r}: expected a port from 0 to 65535")
    return int(text)


if __name__ == "__main__":
    run_main(main, "annotate")
