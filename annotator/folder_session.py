"""The session of a folder: what the instances that stand teach it, and rounds behind the person's back (Sec. 3.3, D31).

Bank and memory hold what each instance that stands has taught, in the order in which they were accepted, so undo, redo,
deletion and another category change them exactly. A round of optimisation works on a network of its own, and counts
from the next image that is opened after its end (D25). After a start the parameters, the optimiser's state and the
bank are there at once; the samples of earlier runs are computed again, newest first, when rounds need them.
"""

import copy
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from annotator.history import Event
from annotator.masks import Box, cropped, cut, from_counts
from annotator.prefetcher import Newest, Prefetcher, in_the_background
from annotator.store import Store, one_line
from icp import ClickBank
from loaders.pictures import read_image
from opo import BATCH, Finished
from session import Learnt, Session, View
from support.command_line import needing_memory
from support.files import pack_mask, read_tensors, sweep, write_tensors

FORMAT = "siis-annotator-1"
PLAIN = ""  # a category that nothing is learned for: row (a) of a study
UNDOS = 20  # events that can be undone with the parameters as they were before
KEPT = 4  # views, and images whose features are kept


class Lesson(NamedTuple):
    """What an instance teaches."""

    vector: Tensor | None  # of its first foreground click, for the bank (D19)
    sample: Finished | None  # for online optimisation (D20); None if it has been forgotten


class FolderSession:
    """The session of a store's folder.

    session: a new one;  memory: bytes that the samples may take, with their features.
    """

    def __init__(self, session: Session, store: Store, memory: float = 1e9):
        self.session, self.settings, self.store, self.memory = session, session.settings, store, memory
        self.ahead, self.learning = self._twin(), self._twin()  # of the two threads
        self.learner = ThreadPoolExecutor(1, "learner", in_the_background)
        self.prefetcher = Prefetcher(store.images, self._look_ahead)
        self.lock, self.writing = threading.Lock(), threading.Lock()
        self.lessons: dict[int, Lesson] = {}
        self.lost: set[int] = set()  # instances whose photo cannot be read again
        self.before = Newest(UNDOS)  # by event: category and parameters before it
        self.taken_back: Counter[str] = Counter()  # how often something was, by category
        self.rounds: dict[str, Future[None]] = {}
        self.views = Newest(KEPT)  # by image, category, crop and whether it is plain
        self.opened = Newest(KEPT)  # by image and crop: what a session holds of an image it has opened
        self.file = store.out / "session.pt"
        self._load()

    # ---- looking -----------------------------------------------------------------------------------------------------

    def open(self, image: str, category: str, crop: Box | None = None, plain: bool = False, anew: bool = False) -> View:
        """An image of the store, or a crop of it, opened for a category with the parameters in force.

        plain:   without what has been learned;  anew: also if it is open, so that newer parameters count.
        Raises:  ValueError naming an image that cannot be read, or is another than the one that was annotated.
        """
        key = (image, category, crop, plain)
        if anew or key not in self.views:
            pixels, session = self.prefetcher.pixels(image), self.session
            ready = self.opened.get((image, crop)) or (None if crop else self.prefetcher.prepared(image))
            with self.lock, needing_memory(f"{image}, {pixels.shape[0]}x{pixels.shape[1]} pixels"):
                session.opened = ready or session.opened
                view = session.open(cut(pixels, crop), image, PLAIN if plain else category)
            if crop is None:
                self.store.check_photo(image, view.content, view.shape)
            self.opened[image, crop], self.views[key] = session.opened, view
        return self.views[key]

    def proposal(self, view: View) -> tuple[int, int] | None:
        """The session's proposal outside what is annotated in the image (I of Sec. 3.2, D31)."""
        index = self.store.index(view.name, view.category)
        place = view.name, view.content, view.category
        with self.lock:
            self.session.ignore = {} if index is None else {place: pack_mask(torch.from_numpy(index > 0))}
            point = self.session.propose(view).point
        return None if point is None else (point.row, point.col)

    def room(self) -> int:
        """How many square images there is room for, with their features in half precision (D24)."""
        cells = [self.settings.size**2 // stride**2 for stride in (4, 8, 16, 16)]
        features = sum(2 * n * width for n, width in zip(cells, self.session.net.backbone.widths, strict=True))
        return min(self.settings.memory, int(self.memory / (features + 4 * self.settings.size**2)))

    # ---- what changes ------------------------------------------------------------------------------------------------

    def accept(self, event: Event, number: int) -> None:
        """Learn from an instance that stands, whose newest event has that number, and start a round."""
        image, category = event["image"], event["category"]
        view, crop = self.open(image, category), cropped(event["size"], event.get("box"))
        part = self.open(image, category, crop) if crop else None
        with self.lock:
            self.before[number] = category, self.session.category(category).history.copy()
            self.lessons.pop(event["id"], None)
            try:
                self.lessons[event["id"]] = taught(self.session, event, view, part)
            finally:  # if that failed a later round recalls it
                self._bring_in_line()
        if self.settings.opo and (category not in self.rounds or self.rounds[category].done()):
            self.rounds[category] = self.learner.submit(self._noted, self._round, category)

    def change(self, categories: Iterable[str], number: int | None = None, forget: int | None = None) -> None:
        """Forget what no longer stands in some categories, and recall what stands again.

        number:  of the event that was undone;  forget: the instance whose mask that changed.
        """
        with self.lock:
            self.taken_back.update(categories)  # a round that is learning from it is dropped
            if number in self.before:
                category, history = self.before.pop(number)
                self.session.category(category).history = history
            self.lessons.pop(forget, None)  # type: ignore[arg-type]
            self._bring_in_line()
        self.learner.submit(self._noted, self._recall_bank)

    def end(self, wait: bool) -> None:
        """Stop the threads and save; `wait`: for what has begun."""
        self.learner.shutdown(wait, cancel_futures=True)
        self.prefetcher.thread.shutdown(wait, cancel_futures=True)
        self.save()

    def _bring_in_line(self) -> None:
        """Make bank and memory what the instances that stand have taught; the newest samples that there is room for."""
        live, room, kept = self.store.live, self.memory, list[Finished]()
        for e in live:
            self.session.category(e["category"])
        for name, state in self.session.categories.items():
            mine = [self.lessons[e["id"]].vector for e in live if e["category"] == name and e["id"] in self.lessons]
            state.bank[:] = [vector for vector in mine if vector is not None]
        samples = {id: lesson.sample for id, lesson in self.lessons.items() if lesson.sample is not None}
        for e in reversed(live):
            sample = samples.pop(e["id"], None)
            room -= sum(t.nbytes for t in (sample.image, sample.mask, *sample.features)) if sample else 0
            if sample and room >= 0:
                kept.append(sample._replace(category=e["category"]))
            elif sample:
                samples[e["id"]] = sample
        for id in samples:  # deleted, or there is no room for it
            self.lessons[id] = self.lessons[id]._replace(sample=None)
        self.full = room < 0
        self.session.memory.samples = deque(reversed(kept), self.settings.memory)

    # ---- the file ----------------------------------------------------------------------------------------------------

    def save(self) -> None:
        """Write bank, parameters and the optimiser's state; samples are computed from the photos again."""
        with self.writing:
            with self.lock:
                known = [e for e in self.store.live if e["id"] in self.lessons]
                content = {
                    "format": FORMAT,
                    "made with": [self.session.digest, self.settings.size],
                    "vectors": {mark(e): self.lessons[e["id"]].vector for e in known},
                    "categories": {
                        name: ([tuple(learnt) for learnt in state.history], state.finished)
                        for name, state in self.session.categories.items()
                    },
                }
            write_tensors(self.file, content)

    def _load(self) -> None:
        sweep(self.file)
        content: dict[str, Any] = {}
        try:
            content = read_tensors(self.file, self.session.device) if self.file.exists() else {}
        except ValueError as problem:
            self.store.notices.append(f"{problem}; parameters start anew")
        if content.get("format") == FORMAT and content["made with"] == [self.session.digest, self.settings.size]:
            for name, (history, count) in content["categories"].items():
                state = self.session.category(name)
                state.history.extend(Learnt(*learnt) for learnt in history)
                state.finished = count
            vectors = content["vectors"]
            self.lessons = {e["id"]: Lesson(vectors[mark(e)], None) for e in self.store.live if mark(e) in vectors}
        self._bring_in_line()
        if len(self._unknown()) <= BATCH:  # a kill came before the file: proposals wait for them
            self._noted(self._recall_bank)
        else:
            self.learner.submit(self._noted, self._recall_bank)

    # ---- behind the person's back ------------------------------------------------------------------------------------

    def _noted(self, work: Callable[..., None], *args: Any) -> None:
        """Do something, and tell the person if it fails: a loss that is not finite, no disk or memory left."""
        try:
            with needing_memory("learning"):
                work(*args)
        except Exception as problem:
            self.store.notices.append(one_line(problem))

    def _round(self, category: str) -> None:
        for e in self._forgotten(category):
            self._recall(e)
        with self.lock:
            taken_back, following = self.taken_back[category], self.session.next_round(category)
        if following is None:
            return
        learnt = following.run(self.learning.net)
        with self.lock:
            if taken_back == self.taken_back[category]:
                self.session.commit(category, learnt)
        self.save()

    def _forgotten(self, category: str) -> list[Event]:
        """The newest instances whose samples are not there, as many as a batch: later rounds find more and more."""
        with self.lock:
            live = [] if self.full else self.store.live[-self.settings.memory :]
            there = {id for id, lesson in self.lessons.items() if lesson.sample is not None}
        mine = [e for e in reversed(live) if e["category"] == category and e["id"] not in there]
        return list(filter(self._teaches, mine))[:BATCH]

    def _recall_bank(self) -> None:
        unknown = self._unknown()
        for e in unknown:
            self._recall(e)
        if unknown:
            self.save()

    def _teaches(self, event: Event) -> bool:
        """Whether a person made the mask, of a photo that is there."""
        made = event["clicks"] or event.get("strokes")
        return bool(made) and event["image"] in self.store.images and event["id"] not in self.lost

    def _unknown(self) -> list[Event]:
        """What stands and would teach something that is not known, newest first."""
        return [e for e in reversed(self.store.live) if self._teaches(e) and e["id"] not in self.lessons]

    def _recall(self, event: Event) -> None:
        """Learn again what an instance of an earlier run taught."""
        image, category = event["image"], event["category"]
        try:
            pixels = read_image(self.store.images[image])
            with self.lock:
                state = self.session.category(category)
                own = replace(state, bank=ClickBank(state.bank), history=state.history.copy())  # no tensor ever changes
                self.learning.categories[category] = own
            view = self.learning.open(pixels, image, category)
            self.store.check_photo(image, view.content, view.shape)
            crop = cropped(event["size"], event.get("box"))
            part = self.learning.open(cut(pixels, crop), image, category) if crop else None
            lesson = taught(self.learning, event, view, part)
        except ValueError as problem:
            self.lost.add(event["id"])
            self.store.notices.append(f"{problem}; its annotation stays, but nothing is learned from it")
            return
        with self.lock:
            if self.store.history.live.get(event["id"]) == event:
                known = self.lessons.get(event["id"])
                self.lessons[event["id"]] = lesson._replace(vector=known.vector) if known else lesson
                self._bring_in_line()

    def _look_ahead(self, pixels: np.ndarray) -> Any:
        self.ahead.open(pixels, "the next image", "any")
        return self.ahead.opened

    def _twin(self) -> Session:
        """A session for another thread, which shares what nobody changes."""
        backbone = self.session.net.backbone
        return copy.deepcopy(self.session, {id(backbone): backbone})


def taught(session: Session, event: Event, view: View, part: View | None) -> Lesson:
    """What an instance teaches a session, whose bank of the category and memory hold nothing else afterwards.

    view:  of the whole image, in which proposals are made, so that the vector is the whole one's.
    part:  of the crop that its clicks and mask were made in, or None; the sample is then the crop's.
    """
    bank, memory = session.category(event["category"]).bank, session.memory
    mask = from_counts(event["counts"], event["size"])
    bank.clear()
    memory.samples.clear()
    session.ignore.clear()
    session.accept(view, event["clicks"], mask)
    if part is not None:
        memory.samples.clear()
        inside = cut(mask, cropped(event["size"], event["box"])).copy()
        memory.add(part.image, part.F, torch.from_numpy(inside), event["category"])
    return Lesson(next(iter(bank), None), next(iter(memory.samples), None))


def mark(event: Event) -> str:
    """What an instance's vector is known by in a file: with another first click it has another."""
    return f"{event['id']} {next((c for c in event['clicks'] if c[2]), None)}"
