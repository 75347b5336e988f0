"""Masks that are there already (--masks): finished instances to look through and to correct."""

from collections import Counter
from pathlib import Path

from annotator.history import Event, Place
from annotator.masks import to_counts
from annotator.store import MOST, Store, flat
from loaders.folders import MASK_FOLDERS
from loaders.listing import MASK_ENDING, composed, listing
from loaders.pictures import instance, instances, read_image, read_mask_file
from support.checks import image_digest
from support.command_line import progress


def bring_in(store: Store, folder: Path) -> None:
    """Take over the masks of a folder, once for each image and category, in the layout that --data reads.

    folder:    holds NAME.png, of the first category, or CATEGORY/NAME.png, or a folder masks/ that does.
    Raises:    ValueError for a folder without masks, a mask that cannot be read or has not its image's size, and two
               files of one image and category.
    """
    if not folder.is_dir():
        raise ValueError(f"--masks {folder}: no such folder")
    inside = {path.name.lower(): path for path in sorted(folder.iterdir()) if path.is_dir()}
    base = next((inside[name] for name in MASK_FOLDERS if name in inside), folder)
    names = {composed(form): name for name in store.names for form in (flat(name), name)}
    there = Counter((e["image"], e["category"]) for e in store.history.first.values())
    cut = [(e["image"], e["category"]) for e in store.events[-1:] if e["event"] == "import"]  # maybe short, by a kill
    seen, last = dict[Place, Path](), max(store.history.first, default=0)
    events, without = list[Event](), list[str]()
    files = listing(base.parent, base.name, deep=True).read
    for file, path in progress(files.items(), "reading masks", len(files)):
        place = _place(composed(file), names, store.categories[0])
        if place is None:
            without.append(file)
        elif seen.setdefault(place, path) != path:
            raise ValueError(f"{path}: {seen[place]} is there too; keep one of them")
        elif place not in there or place in cut:
            new = _events(store, path, *place)[there[place] :]
            events += [{**e, "id": last + k} for k, e in enumerate(new, start=len(events) + 1)]
    if events:
        store.add(*events)
    if without:
        store.notices.append(f"--masks {folder}: {len(without)} masks without an image are left out ({without[0]} ...)")


def _place(file: str, names: dict[str, str], category: str) -> Place | None:
    """Image and category of a mask file."""
    stem = file.rpartition(".")[0]
    top, _, rest = stem.partition("/")
    for form, its in ((stem, category), (rest, top)):
        for name in (form, MASK_ENDING.sub("", form)):
            if name in names:
                return names[name], its
    return None


def _events(store: Store, path: Path, image: str, category: str) -> list[Event]:
    """The instances of a mask file as events that have no ids yet."""
    mask, photo, events = read_mask_file(path), read_image(store.images[image]), list[Event]()
    size, content = photo.shape[:2], image_digest(photo)
    if mask.values.shape != size:
        sizes = ["{}x{}".format(*shape) for shape in (mask.values.shape, size)]
        raise ValueError(f"{path}: of {sizes[0]} pixels, its image of {sizes[1]}")
    for value in instances(path):
        part, _ = instance(mask, value)
        if part.any():
            where = {"image": image, "file": store.photo(image), "category": category, "value": len(events) + 1}
            made = {"clicks": [], "strokes": [], "more": True, "size": size, "counts": to_counts(part)}
            events.append({"event": "import", **where, **made, "photo": content})
    if len(events) > MOST:
        raise ValueError(f"{path}: {len(events)} instances; at most {MOST} are read")
    return events
