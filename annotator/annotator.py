"""What a person does: open, click, finish, undo, correct; and what the page is told (Secs. 3.2 and 3.3, D31, D32).

All of it runs in one thread, in the order of the requests; no request depends on what an earlier one left behind, but
for what is saved. Requests that change something saved have a key and are carried out once. Decisions owned here: D32.
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from annotator import statistics
from annotator.checks import Draft, RefusedError, checked_draft, checked_proposal, checked_seconds
from annotator.drafts import Drafts
from annotator.export import FORMATS
from annotator.folder_session import FolderSession
from annotator.history import UNDOABLE, Event
from annotator.masks import cropped, from_counts, loops, to_counts
from annotator.store import one_line
from support.command_line import needing_memory

Answer = dict[str, Any]


class Annotator:
    """A person's annotation of a folder.

    categories:  in the order of their keys.
    several:     whether images hold several objects, so that the person says when one is done; None: as last time.
    study:       a seeded fifth of the instances is annotated as row (a).
    """

    def __init__(
        self, session: FolderSession, categories: Sequence[str], several: bool | None = None, study: bool = False
    ):
        self.session, self.store, self.study, settings = session, session.store, study, session.settings
        self.recipe = {"net": session.session.digest, "size": settings.size, "seed": settings.seed}  # of every mask
        self.drafts = Drafts(session)
        self.store.name_categories(categories)
        self.store.keep(several=self.store.kept["several"] if several is None else several)
        self.latest = 0  # number of the newest request for a mask

    # ---- requests that change nothing --------------------------------------------------------------------------------

    def state(self) -> Answer:
        """The names, and where to continue: where the person was, or the next image and category not done."""
        self.latest, store = 0, self.store
        image, category = store.kept.get("place", (None, None))
        category = category if category in store.categories else store.categories[0]
        image = image if image in store.images else store.names[0]
        places = [(i, c) for c in (category, *store.categories) for i in (image, store.next(image, c))]
        image, category = next((place for place in places if not store.done(*place)), (image, category))
        folder, out = store.folder.as_posix(), store.out.as_posix()
        return {
            "folder": folder,
            "out": out,
            "categories": self._categories(),
            "several": store.kept["several"],
            "image": image,
            "category": category,
            "command": f"python annotate.py {folder} --out {out} --export coco yolo labelme",
        }

    def images(self, category: str) -> Answer:
        """All images: name, number of instances, done, no object."""
        return {"images": [self._row(name, self._category(category)) for name in self.store.names]}

    def image(self, image: str) -> bytes:
        """The image as a BMP: exactly the pixels that the network sees."""
        return self.session.prefetcher.bmp(self._image(image))

    def thumbnail(self, image: str) -> bytes:
        """The image as a small JPEG; asked from any thread."""
        return self.session.prefetcher.thumbnail(self._image(image))

    def open(self, image: str, category: str, propose: bool) -> Answer:
        """Show an image, with a proposal if it is not done or one is asked for."""
        return self._shown(self._image(image), self._category(category), propose)

    def segment(self, seq: int, draft: dict) -> Answer:
        """The mask of a draft."""
        if seq < self.latest:
            raise RefusedError("late", "a newer click has replaced this one")
        made = self._draft(draft)
        mask, crop = self.drafts.mask(made, self._old(made))
        return {"mask": loops(mask), "crop": crop}

    def instance(self, instance: int) -> Answer:
        """A finished instance as a draft, to correct it."""
        e = self._live(instance)
        draft = {name: e[name] for name in ("image", "category", "clicks")}
        draft |= {"box": e.get("box"), "plain": e.get("plain", False), "strokes": e.get("strokes", [])}
        crop = cropped(e["size"], e.get("box")) or (0, 0, *e["size"])
        mask = from_counts(e["counts"], e["size"])
        return {"draft": {**draft, "instance": instance}, "mask": loops(mask), "crop": crop}

    def way(self, several: bool) -> Answer:
        """Whether images hold several objects, so that the person says when one is done."""
        self.store.keep(several=several)
        return {"several": several}

    def category(self, name: str) -> Answer:
        """A new category."""
        self.store.add_categories([name])
        return {"categories": self._categories()}

    def export(self, format: str) -> Answer:
        """Write what is annotated in another program's format."""
        if format not in FORMATS:
            raise ValueError(f"format {format[:40]!r}: expected one of {', '.join(FORMATS)}")
        return {"said": FORMATS[format](self.store)}

    # ---- requests that are carried out once --------------------------------------------------------------------------

    def finish(self, key: str, draft: dict, proposal: dict | None, seconds: dict) -> Answer:
        """Save an instance and learn from it; show the next image, or the same again if there may be more to do."""
        made, number, said = self._draft(draft), self._known(key), None
        if number is None:
            event = self._finished(made, *checked_proposal(proposal, made.clicks), checked_seconds(seconds))
            hidden = self._hidden(made)
            number = self._add(key, event)
            self.session.accept(self._live(event["id"]), number)
            said = f"Saved: {made.image}, {made.category}"
            if more := len(self._hidden(made._replace(instance=event["id"])) - hidden):
                said += f"; it hides {more} other instance{'s' * (more > 1)} of the category"
        stays = self.store.kept["several"] or made.instance is not None
        following = made.image if stays else self.store.next(made.image, made.category)
        return self._shown(following, made.category, changed=made.image, event=number, said=said)

    def done(self, key: str, image: str, category: str, done: bool) -> Answer:
        """Say that an image is done, and show the next one; or that it is not."""
        number = self._known(key)
        if number is None:
            number = self._add(key, {"event": "done", **self._where(image, category), "done": done})
        following = self.store.next(image, self._category(category)) if done else image
        return self._shown(following, category, changed=image, event=number)

    def empty(self, key: str, image: str, category: str, empty: bool) -> Answer:
        """Mark an image as holding no object of a category, or remove the mark."""
        number = self._known(key)
        if number is None:
            where = {**self._where(image, category), "category": self._category(category)}
            if empty and self.store.instances(image, category):
                raise ValueError(f"{image}: has finished instances of {category}; delete them first")
            number = self._add(key, {"event": "empty", **where, "empty": empty})
        goes_on = empty and not self.store.kept["several"]
        following = self.store.next(image, category) if goes_on else image
        return self._shown(following, category, changed=image, event=number)

    def delete(self, key: str, instance: int) -> Answer:
        """Delete a finished instance."""
        return self._change(key, instance, lambda old: {"event": "delete", "id": instance}, "Deleted")

    def recategorise(self, key: str, instance: int, category: str) -> Answer:
        """Move a finished instance to another category."""

        def moved(old: Event) -> Event:
            value = self.store.new_value(old["image"], self._category(category))
            return {"event": "category", "id": instance, "category": category, "value": value}

        return self._change(key, instance, moved, f"Now {category}")

    def undo(self, key: str, image: str, category: str) -> Answer:
        """Take back the newest change that stands, wherever it was made."""
        return self._step("undo", self.store.history.undoable, key, image, category)

    def redo(self, key: str, image: str, category: str) -> Answer:
        """Make the change again that was undone last."""
        return self._step("redo", self.store.history.redoable, key, image, category)

    # ---- parts of them -----------------------------------------------------------------------------------------------

    def _change(self, key: str, instance: int, made: Callable[[Event], Event], said: str) -> Answer:
        """Change an instance that stands, and show where it is, or was."""
        number, history = self._known(key), self.store.history
        gone = None if number is None else history.first.get(instance)  # deleted when this was asked for before
        old = history.live.get(instance, gone) or self._live(instance)
        if number is None:
            number = self._add(key, made(old))
            self.session.change({c for _, c in history.place(instance) + self.store.history.place(instance)})
        now = self.store.history.live.get(instance, old)
        return self._shown(now["image"], now["category"], event=number, said=said)

    def _step(self, kind: str, numbers: list[int], key: str, image: str, category: str) -> Answer:
        """Undo or redo the last of some events, and show where it was made."""
        here = self._image(image), self._category(category)
        if (known := self._known(key)) is not None:
            return self._shown(*here, event=known)
        if not numbers:
            return self._shown(*here, said=f"Nothing to {kind}")
        number, event = numbers[-1], self.store.events[numbers[-1] - 1]
        id = event.get("id")
        before = self.store.history.place(id)
        self._add(key, {"event": kind, "n": number})
        now = self.store.history.place(id)
        self.session.change({c for _, c in before + now}, number, id if event["event"] == "correct" else None)
        place = (now or before or [(event.get("image", image), event.get("category", category))])[-1]
        said = f"{'Undone' if kind == 'undo' else 'Redone'}: {UNDOABLE[event['event']]} ({', '.join(place)})"
        return self._shown(*(place if place[0] in self.store.images else here), event=number, said=said)

    def _draft(self, given: dict) -> Draft:
        draft = checked_draft(given)
        self._image(draft.image)
        self._category(draft.category)
        if (old := self._old(draft)) and old["image"] != draft.image:
            raise ValueError(f"instance {draft.instance}: in another image")
        return draft

    def _finished(self, draft: Draft, point: Any, accepted: bool | None, seconds: dict[str, Any]) -> Event:
        """The event that saves a draft; ValueError if its mask is empty."""
        old = self._old(draft)
        mask, _ = self.drafts.mask(draft, old)
        if not mask.any():
            raise ValueError("the mask is empty; click the object first")
        made: Event = {
            "clicks": draft.clicks,
            "strokes": [s._asdict() for s in draft.strokes],
            "box": draft.box,
            "more": self.store.kept["several"] and (old is None or old.get("more", False)),
            "photo": self.session.open(draft.image, draft.category).content,
            "recipe": self.recipe,
            "size": mask.shape,
            "counts": to_counts(mask),
        }
        if old is None or draft.category != old["category"]:
            made |= {"category": draft.category, "value": self.store.new_value(draft.image, draft.category)}
        if old:
            return {"event": "correct", "id": draft.instance, **_corrected(old, draft.clicks, seconds), **made}
        judged = {"proposal": point, "accepted": accepted, "seconds": seconds, "plain": draft.plain}
        where = {"image": draft.image, "file": self.store.photo(draft.image)}
        return {"event": "finish", "id": max(self.store.history.first, default=0) + 1, **where, **judged, **made}

    def _where(self, image: str, category: str) -> Event:
        """The image that a mark is about, and the digest of a photo that can be read."""
        where = {"image": self._image(image), "file": self.store.photo(image)}
        with suppress(ValueError, MemoryError):  # it may be marked all the same
            where["photo"] = self.session.open(image, self._category(category)).content
        return where

    def _known(self, key: str) -> int | None:
        """The number of the event that this request has made already, or undone or redone."""
        if not 8 <= len(key) <= 64:
            raise ValueError(f"key: {len(key)} characters; expected 8 to 64")
        return self.store.history.keys.get(key)

    def _add(self, key: str, event: Event) -> int:
        """Save an event; its number."""
        self.store.add({**event, "key": key})
        return len(self.store.events)

    def _hidden(self, draft: Draft) -> set[int]:
        """The other instances of a draft's image and category of which nothing is visible."""
        visible = self.store.visible(draft.image, draft.category)
        return {id for id, lines in visible.items() if not lines and id != draft.instance}

    def _image(self, image: str) -> str:
        if image not in self.store.images:
            raise ValueError(f"image {image[:80]!r}: the folder has none of that name; reload the page")
        return image

    def _category(self, category: str) -> str:
        if category not in self.store.categories:
            raise ValueError(f"category {category[:80]!r}: unknown; reload the page")
        return category

    def _live(self, instance: int) -> Event:
        if instance not in self.store.history.live:
            raise ValueError(f"instance {instance}: was deleted or undone; reload the page")
        return self.store.history.live[instance]

    def _old(self, draft: Draft) -> Event | None:
        """The instance that a draft corrects."""
        return None if draft.instance is None else self._live(draft.instance)

    # ---- what the page is told ---------------------------------------------------------------------------------------

    def _shown(
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
        following = store.next(image, category)
        if following != image and (following, None) not in self.session.opened:
            self.session.prefetcher.prepare(following)
        self._remember(image, category)
        notices = [store.notices.pop(0) for _ in range(len(store.notices))]  # other threads may add some
        return {
            "image": image,
            "category": category,
            **answer,
            "instances": [self._instance(e) for e in store.instances(image)],
            "empty": empty,
            "done": done,
            "rows": [self._row(name, category) for name in dict.fromkeys((image, changed or image))],
            "progress": {"done": sum(store.done(name, category) for name in store.names), "total": len(store.names)},
            "undo": bool(history.undoable),
            "redo": bool(history.redoable),
            "event": event,
            "newest": next(reversed(history.keys.items()), None),
            "notices": notices,
            "said": said,
            "several": store.kept["several"],
            "statistics": statistics.panel([e for e in store.live if e["event"] == "finish"]),
        }

    def _remember(self, image: str, category: str) -> None:
        """Keep the place for the next start."""
        try:
            self.store.keep(place=[image, category])
        except OSError as problem:  # a full disk: it can still be looked around
            self.store.notices.append(str(problem))

    def _row(self, image: str, category: str) -> list[Any]:
        """Name, number of instances, whether it is done, whether it is marked as holding none of the category."""
        empty = (image, category) in self.store.history.empty
        return [image, len(self.store.instances(image)), self.store.done(image, category), empty]

    def _categories(self) -> list[Answer]:
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
        outlines = self.store.visible(e["image"], e["category"])[e["id"]]
        return {
            "id": e["id"],
            "category": e["category"],
            "clicks": len(e["clicks"]),
            "strokes": len(e.get("strokes", ())),
            "covered": not outlines,
            "loops": outlines,
        }


def _corrected(old: Event, clicks: Sequence[tuple[int, int, bool]], seconds: dict[str, Any]) -> dict[str, Any]:
    """What was proposed for a corrected instance and the first reaction to it, with the time of the correction added.

    The proposal stays accepted, and costs no click (D14), while it is among the clicks; re-selected it was wrong, D15.
    """
    if old["event"] == "import":
        return {}
    total, valid = old["seconds"]["total"] + seconds["total"], old["seconds"]["valid"] and seconds["valid"]
    return {
        "accepted": old["accepted"] and (*old["proposal"], True) in clicks,
        "seconds": {**old["seconds"], "total": total, "valid": valid},
    }
