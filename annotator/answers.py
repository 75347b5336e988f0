"""What the page is told about an image: its instances, a proposal, what is left to do."""

from typing import Any

from annotator import statistics
from annotator.checks import Draft
from annotator.drafts import Drafts
from annotator.history import Event
from annotator.masks import loops
from annotator.store import one_line
from support.command_line import needing_memory

Answer = dict[str, Any]


class Answers:
    """Answers about the images of a session's store.

    study:  a seeded fifth of the instances is annotated as row (a).
    """

    def __init__(self, drafts: Drafts, study: bool):
        self.drafts, self.session, self.store, self.study = drafts, drafts.session, drafts.session.store, study

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
        store, history = self.store, self.store.history
        done, empty = store.done(image, category), [c for c in store.categories if (image, c) in history.empty]
        answer = self._opened(image, category, propose or not (done or category in empty))
        if (following := store.next(image, category)) != image:
            self.session.prepare(following)
        try:
            store.keep(place=[image, category])
        except OSError as problem:  # a full disk: it can still be looked around
            store.notices.append(str(problem))
        notices = [store.notices.pop(0) for _ in range(len(store.notices))]  # other threads may add some
        return {
            "image": image,
            "category": category,
            **answer,
            "instances": [self._instance(e) for e in store.instances(image)],
            "empty": empty,
            "done": done,
            "rows": [self.row(name, category) for name in dict.fromkeys((image, changed or image))],
            "progress": {"done": sum(store.done(name, category) for name in store.names), "total": len(store.names)},
            "undo": bool(history.undoable),
            "redo": bool(history.redoable),
            "event": event,
            "notices": notices,
            "said": said,
            "several": store.kept["several"],
            "statistics": statistics.panel([e for e in store.live if e["event"] == "finish"]),
        }

    def row(self, image: str, category: str) -> list[Any]:
        """Name, number of instances, whether it is done, whether it is marked as holding none of the category."""
        empty = (image, category) in self.store.history.empty
        return [image, len(self.store.instances(image)), self.store.done(image, category), empty]

    def categories(self) -> list[Answer]:
        """The categories with their ids, in the order of their keys."""
        ids = {name: i for i, name in enumerate(self.store.history.categories, start=1)}
        return [{"id": ids[name], "name": name} for name in self.store.categories]

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
