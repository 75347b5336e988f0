"""What the page is told about an image: its instances, a proposal, what is left to do."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from annotator import statistics
from annotator.checks import Draft
from annotator.drafts import Drafts
from annotator.history import Event
from annotator.masks import outlines
from annotator.store import one_line
from support.command_line import needing_memory

Answer = dict[str, Any]


class Answers:
    """Answers about the images of a session's store.

    categories:  in the order of their keys;  several: objects an image, so that the person says when it is done.
    study:       a seeded fifth of the instances is annotated as row (a).
    """

    def __init__(self, drafts: Drafts, categories: Sequence[str], several: bool, study: bool):
        self.drafts, self.session, self.store = drafts, drafts.session, drafts.session.store
        self.categories, self.several, self.study = list(categories), several, study

    def shown(
        self,
        image: str,
        category: str,
        propose: bool = False,
        changed: str | None = None,
        event: int | None = None,
        said: str | None = None,
    ) -> Answer:
        """Open an image and tell all about it.

        propose:  also where nothing is left to do;  changed: the image that was changed, if that is another.
        event:    number of the event that was made;  said: for the person.
        """
        history, done = self.store.history, self.done(image, category)
        nothing_left = done or (image, category) in history.empty
        answer = self._opened(image, category, propose or not nothing_left)
        if (following := self.next(image, category)) != image:
            self.session.prepare(following)
        self._remember(image, category)
        notices = [self.store.notices.pop(0) for _ in range(len(self.store.notices))]  # other threads may add some
        return {
            "image": image,
            "category": category,
            **answer,
            "instances": [self._instance(e) for e in self.store.instances(image)],
            "empty": [c for c in self.categories if (image, c) in history.empty],
            "done": done,
            "rows": [self.row(name, category) for name in dict.fromkeys((image, changed or image))],
            "progress": {
                "done": sum(self.done(name, category) for name in self.store.names),
                "total": len(self.store.names),
            },
            "undo": bool(history.undoable),
            "redo": bool(history.redoable),
            "event": event,
            "notices": notices,
            "said": said,
            "several": self.several,
            "statistics": statistics.panel([e for e in self.store.live if e["event"] == "finish"]),
        }

    def row(self, image: str, category: str) -> list[Any]:
        """Name, number of instances, whether it is done, whether it is marked as holding none of the category."""
        empty = (image, category) in self.store.history.empty
        return [image, len(self.store.instances(image)), self.done(image, category), empty]

    def named(self) -> list[Answer]:
        """The categories with their ids."""
        ids = {name: i for i, name in enumerate(self.store.history.categories, start=1)}
        return [{"id": ids[name], "name": name} for name in self.categories]

    def done(self, image: str, category: str) -> bool:
        """Whether an image is done: with one object each, for that category."""
        return self.store.done(image, self.categories if self.several else [category])

    def next(self, image: str, category: str) -> str:
        """The next image that is not done; this one if all are."""
        names = self.store.names
        at = names.index(image)
        return next((n for n in names[at + 1 :] + names[:at] if not self.done(n, category)), image)

    def _opened(self, image: str, category: str, propose: bool) -> Answer:
        """Whether an image can be read, and what is proposed in it."""
        plain = self.study and statistics.plain(len(self.store.live), self.session.settings.seed)
        answer: Answer = {"size": [1, 1], "readable": False, "proposal": None, "mask": None, "plain": plain}
        try:
            with needing_memory(image):
                view = self.session.open(image, category, anew=True)
                self.drafts.masks.clear()  # of earlier parameters
                proposal = self.session.proposal(view) if propose and not plain else None
                if proposal is not None:
                    draft = Draft(image, category, None, False, None, ((*proposal, True),), ())
                    answer["mask"] = loops(self.drafts.mask(draft)[0])
        except Exception as problem:  # what was saved before this is answered as saved
            self.store.notices.append(one_line(problem))
            return answer
        return {**answer, "size": list(view.shape), "readable": True, "proposal": proposal}

    def _remember(self, image: str, category: str) -> None:
        try:
            self.store.keep(place=[image, category])
        except OSError as problem:  # a full disk: it can still be looked around
            self.store.notices.append(str(problem))

    def _instance(self, e: Event) -> Answer:
        visible = self.store.visible(e["image"], e["category"])[e["id"]]
        return {
            "id": e["id"],
            "category": e["category"],
            "clicks": len(e["clicks"]),
            "strokes": len(e.get("strokes", ())),
            "area": visible.area,
            "covered": not visible.area,
            "imported": e["event"] == "import",
            "loops": visible.loops,
        }


def loops(mask: np.ndarray) -> list[list[int]]:
    """The outlines of a mask as the page takes them: row, col, row, col ... of closed lines."""
    return [line.ravel().tolist() for lines in outlines(mask) for line in lines]
