"""Secs. 3.2 and 3.3 for a person: annotate a folder of images in the browser.

    python annotate.py photos/ --categories butterfly leaf      opens the page; Ctrl-C ends it, nothing is lost
    python annotate.py photos/ --export coco yolo labelme       writes what is annotated in other formats

The annotations are in photos-annotations/ (see `annotator.store`). The same command resumes where it stopped.
"""

import argparse
import os
import signal
import sys
import threading
import traceback
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from annotator import export, statistics
from annotator.annotator import Annotator
from annotator.existing import bring_in
from annotator.folder_session import FolderSession
from annotator.history import finished
from annotator.server import HOSTS, Server, tell
from annotator.store import Store
from model import SIZE
from session import Session, Settings
from support.command_line import LineParser, default_device, device_name, exclusive, run_main, size_int, whole_number
from training.checkpoints import description, open_network

TEXT_BROWSERS = ("www-browser", "links", "elinks", "lynx", "w3m")


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
            print(statistics.summary(finished(store.events)))
            return
        serve(args, store)


def serve(args: argparse.Namespace, store: Store) -> None:
    """Answer the page until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, signal.getsignal(signal.SIGINT))
    net, meta = open_network(args.weights)
    net, size = net.to(args.device), args.size or meta.get("size", SIZE)
    session = FolderSession(Session(net, Settings(size=size, seed=args.seed)), store, args.memory * 1e9)
    categories = args.categories or store.history.categories or ["object"]
    annotator = Annotator(session, categories, args.several, args.study)
    if args.masks:
        bring_in(store, args.masks)
    server = Server(annotator, args.port, args.host)
    print(f"annotate: {description(args.weights)}")
    print(f"annotate: --memory {args.memory:g} GB has room for {session.room()} samples of {size}x{size} pixels")
    if args.host not in HOSTS:
        tell(f"--host {args.host}: whoever reaches this machine and knows the address can see and change everything")
    print(f"annotate: {server.address}   (Ctrl-C ends)", flush=True)
    if not args.no_browser:
        threading.Thread(target=browse, args=(server.address,), daemon=True).start()  # it may wait for the first page
    try:
        server.serve_forever()
    finally:
        server.end(wait=False)
        print("\n" + statistics.summary(finished(store.events)) if store.live else "")


def browse(address: str) -> None:
    """Open the page, unless the only browser is one of text, which could not show it."""
    with suppress(webbrowser.Error):  # none at all: the address is printed
        browser = webbrowser.get()
        if Path(getattr(browser, "name", "")).name not in TEXT_BROWSERS:
            browser.open(address)


def parse(argv: Sequence[str] | None) -> argparse.Namespace:
    """The command line of `python annotate.py`."""
    purpose = "Annotate a folder of photos by clicks, in the browser."
    p = LineParser(prog="annotate", usage="annotate.py FOLDER [options]", description=purpose)
    p.add_argument("folder", metavar="FOLDER", type=Path, help="your photos; those in subfolders are included")
    objects = "what you annotate (default: the categories of earlier runs, or 'object')"
    p.add_argument("--categories", metavar="NAME", nargs="+", help=objects)
    stays = "images hold several objects: stay on each until you mark it done (default: as in the last run, or off)"
    p.add_argument("--several", action=argparse.BooleanOptionalAction, help=stays)
    p.add_argument("--masks", metavar="DIR", type=Path, help="existing masks to correct, in a layout of siis.py --data")
    p.add_argument("--weights", metavar="FILE", type=Path, help="checkpoint of train.py (default: the one that ships)")
    p.add_argument("--device", type=device_name, default=default_device(), help="where the network runs: cpu, cuda ...")
    p.add_argument("--size", type=size_int, help="short side of the network's input (default: the checkpoint's)")
    p.add_argument("--memory", metavar="GB", type=gigabytes, default=1.0, help="memory for the objects learned from")
    p.add_argument("--out", metavar="DIR", type=Path, help="where to save (default: FOLDER-annotations)")
    p.add_argument("--port", type=whole_number, default=8765, help="port of the page; 0 picks a free one")
    p.add_argument("--host", default=HOSTS[0], help="address to listen on; with 0.0.0.0 others can reach the page")
    p.add_argument("--no-browser", action="store_true", help="print the page's address without opening it")
    p.add_argument("--study", action="store_true", help="no proposal and no learning for a fifth of the objects")
    p.add_argument("--seed", type=int, default=0, help="seed of learning and of --study")
    p.add_argument("--export", nargs="+", choices=export.FORMATS, help="write these formats into --out, then exit")
    p.add_argument("--summary", action="store_true", help="print your clicks and seconds, then exit")
    return p.parse_args(argv)


def gigabytes(text: str) -> float:
    """argparse type: a positive number."""
    with suppress(ValueError):
        if 0 < float(text) < 1e6:
            return float(text)
    raise argparse.ArgumentTypeError(f"{text!r}: expected a number of gigabytes, such as 0.5")


if __name__ == "__main__":
    code: int | str | None = 1
    try:
        run_main(main, "annotate")
        code = 0
    except SystemExit as end:
        code = end.code
    except Exception:
        traceback.print_exc()
    finally:  # without waiting for a round of optimisation: all that a person did is on disk
        with suppress(OSError):
            sys.stdout.flush()
        os._exit(int(code or 0))
