"""annotator/store.py and existing.py: what is written, what is read, and that it is never lost."""

import json
import os
import shutil
import stat

import numpy as np
import pytest
from kills import found
from layouts import write
from lines import SQUARE, event
from PIL import Image

from annotator import store as module
from annotator.existing import bring_in
from annotator.export import FORMATS
from annotator.store import Store
from loaders.folders import Folder
from loaders.pictures import read_image, read_mask
from support.checks import image_digest
from support.files import atomic


def files(store):
    return {p.relative_to(store.out).as_posix() for f in ("masks", "images") for p in (store.out / f).rglob("*.*")}


def test_what_is_written_is_a_data_set(annotated):
    """masks/CATEGORY/NAME.png beside images/CATEGORY/NAME.* is what --data reads."""
    store, ring, square = annotated
    samples = Folder(store.out)
    assert [(s.category, s.name) for s in samples] == [
        ("clover", "clover/synthetic-0002"),
        ("starfish", "starfish/synthetic-0000"),
        ("starfish", "starfish/synthetic-0000"),
    ]
    assert np.array_equal(samples[0].mask, ring)
    assert np.array_equal(samples[1].mask, ring & ~square)
    assert np.array_equal(samples[2].mask, square)
    with Image.open(store.mask_file("synthetic-0000", "starfish")) as image:
        assert image.mode == "P"  # values are instances, colours are for the eye


def test_the_index_masks_follow_undo_redo_deletion_and_another_category(annotated):
    """Of one category later pixels win; what is uncovered comes back; a place without instances has no files."""
    store, ring, square = annotated
    before = {path: (store.out / path).read_bytes() for path in files(store)}
    store.add({"event": "delete", "id": 2})
    assert np.array_equal(read_mask(store.mask_file("synthetic-0000", "starfish")), ring.astype(np.uint8))
    store.add({"event": "undo", "n": 4})
    assert {path: (store.out / path).read_bytes() for path in files(store)} == before
    store.add({"event": "category", "id": 2, "category": "clover", "value": 7})
    assert np.array_equal(read_mask(store.mask_file("synthetic-0000", "starfish")), ring.astype(np.uint8))
    assert np.array_equal(read_mask(store.mask_file("synthetic-0000", "clover")) == 7, square)
    store.add({"event": "delete", "id": 1})
    assert not store.mask_file("synthetic-0000", "starfish").exists()
    assert "images/starfish/synthetic-0000.png" not in files(store)
    store.add({"event": "undo", "n": 7}, {"event": "undo", "n": 6})
    assert {path: (store.out / path).read_bytes() for path in files(store)} == before


def test_photos_in_folders_inside_are_read_and_their_masks_stay_in_the_category(photos, sequence):
    """Names have the path; in the data set a folder is a category, so the path becomes a part of the name."""
    write(photos / "street" / "a.png", sequence[0].image)
    write(photos / "street" / "synthetic-0001.png", sequence[0].image)
    out = photos / "annotations"  # inside the folder itself: not to be taken for photos
    store = Store(photos, out)
    assert store.names == ["street/a", "street/synthetic-0001", *(f"synthetic-000{k}" for k in range(4))]
    store.add(event(1, "street/a", SQUARE))
    assert Store(photos, out).names == store.names
    assert [(s.category, s.name) for s in Folder(out)] == [("starfish", "starfish/street__a")]
    for name in ("a.HEIC", "b.heic", "street/c.jxl", "notes.txt"):
        (photos / name).write_bytes(b"x")
    assert Store(photos, out).notices[0].startswith("left out: 2 .heic, 1 .jxl; ")


def test_two_photos_whose_masks_would_have_one_name_are_refused(photos, sequence):
    """Nothing is written over."""
    write(photos / "a" / "b.png", sequence[0].image)
    write(photos / "a__b.png", sequence[0].image)
    with pytest.raises(ValueError, match="its mask would have the name of that of"):
        Store(photos, photos.parent / "out")


def test_links_that_lead_nowhere_or_elsewhere_are_renewed(store, photos, tmp_path):
    """They are relative, for both folders moved together; photos moved alone are named again at the start."""
    shutil.copytree(photos.parent, tmp_path / "together", symlinks=True, ignore=shutil.ignore_patterns("together"))
    assert os.readlink(store.out / "images" / "clover" / "synthetic-0002.png").startswith("..")
    assert len(Folder(tmp_path / "together" / "out")) == 3
    shutil.move(photos, tmp_path / "moved")
    link = store.out / "images" / "clover" / "synthetic-0002.png"
    assert not link.exists()
    Store(tmp_path / "moved", store.out)
    assert link.samefile(tmp_path / "moved" / "synthetic-0002.png")
    assert len(Folder(store.out)) == 3


def test_a_photo_that_was_deleted_does_not_stop_the_rest(store, photos):
    """Its mask and link go, its line stays, and with the photo all comes back."""
    kept = (photos / "synthetic-0000.png").read_bytes()
    (photos / "synthetic-0000.png").unlink()
    again = Store(photos, store.out)
    assert again.notices == ["synthetic-0000: no such image; what is annotated there stays in annotations.jsonl"]
    assert [s.category for s in Folder(store.out)] == ["clover"]
    assert list(again.history.live) == [1, 2, 3]
    (photos / "synthetic-0000.png").write_bytes(kept)
    Store(photos, store.out)
    assert len(Folder(store.out)) == 3


def test_what_was_annotated_on_a_photo_that_was_replaced_is_no_data_of_the_new_one(store, photos):
    """Neither read by --data nor exported: one line names the photo, and with the old file all is there again."""
    path = photos / "synthetic-0001.png"
    old, content = path.read_bytes(), image_digest(read_image(path))
    store.add(event(4, "synthetic-0001", SQUARE, photo=content))
    assert len(Folder(store.out)) == 4
    for harm in ((photos / "synthetic-0003.png").read_bytes(), b"no image"):
        path.write_bytes(harm)
        with pytest.raises(ValueError, match=r"synthetic-0001.png: (is another photo than|not a readable image)"):
            Folder(store.out)
        for export in FORMATS.values():
            said = export(Store(photos, store.out))
            assert "3 instances of 2 images" in said
            assert "; 1 images whose photo is not the annotated one are left out (synthetic-0001 ...)" in said
    path.write_bytes(old)
    assert len(Folder(store.out)) == 4
    assert "4 instances of 3 images as run lengths" in FORMATS["coco"](store)


@pytest.mark.parametrize("cut", [b'\n{"event":"finish","id":4,"ima', b""])
def test_the_end_of_a_line_that_a_kill_cut_short_is_dropped_but_no_whole_line_without_a_line_feed(store, photos, cut):
    """Nobody was told of it; the lines before it count, and so do those that follow. An editor may leave the last
    line feed out."""
    store.file.write_bytes(store.file.read_bytes().rstrip(b"\n") + cut)
    again = Store(photos, store.out)
    assert list(again.history.live) == [1, 2, 3]
    again.add({"event": "delete", "id": 3})
    assert list(Store(photos, store.out).history.live) == [1, 2]


@pytest.mark.parametrize("harm", ["moved", "another writer"])
def test_nothing_is_called_saved_in_a_file_that_is_not_as_it_was_left(store, photos, harm):
    """Lines are numbered: behind those of another writer, or in a new file, they would mean something else."""
    if harm == "moved":
        store.out.rename(photos.parent / "elsewhere")
        store.keep(place=["synthetic-0000", "starfish"])  # makes the folder anew
    else:
        Store(photos, store.out).add({"event": "delete", "id": 3})
    there = store.file.read_bytes() if store.file.exists() else None
    with pytest.raises(OSError, match=r"annotations.jsonl: moved or changed by another program"):
        store.add({"event": "delete", "id": 1})
    assert (store.file.read_bytes() if store.file.exists() else None) == there
    assert list(store.history.live) == [1, 2, 3]


def test_a_photo_keeps_its_annotations_whatever_other_files_come_and_go(store, photos):
    """Another kind of the same stem gives both photos their whole names; an annotated one has its name for ever."""
    before = files(store)
    shutil.copy(photos / "synthetic-0001.png", photos / "synthetic-0000.bmp")
    again = Store(photos, store.out)
    assert {"synthetic-0000", "synthetic-0000.bmp"} < set(again.names)
    assert [e["id"] for e in again.instances("synthetic-0000")] == [1, 2]
    assert files(again) == before
    again.add(event(4, "synthetic-0000.bmp", SQUARE, file="synthetic-0000.bmp"))
    (photos / "synthetic-0000.png").unlink()
    assert "synthetic-0000.bmp" in Store(photos, store.out).names


def test_an_index_mask_that_a_kill_left_unwritten_is_made_at_the_next_start(store, photos):
    """A kill between the line and its index mask: missing, empty, or as it was before the last line."""
    before = {path: (store.out / path).read_bytes() for path in files(store)}
    ring, last = (store.mask_file(*place) for place in (("synthetic-0000", "starfish"), ("synthetic-0002", "clover")))
    for harm in (ring.unlink, lambda: ring.write_bytes(b""), lambda: last.write_bytes(ring.read_bytes())):
        harm()
        (store.out / "masks" / "starfish" / ".synthetic-0000.123.png").write_bytes(b"half of one")
        (store.out / "images" / "starfish" / "synthetic-0000.png").unlink()
        Store(photos, store.out)
        assert {path: (store.out / path).read_bytes() for path in files(store)} == before


@pytest.mark.parametrize(
    "line",
    [
        {"event": "undo", "n": 2},
        {"event": "delete", "id": 3},
        {"event": "category", "id": 2, "category": "clover", "value": 7},
        {"event": "category", "id": 3, "category": "starfish", "value": 1},
    ],
)
def test_a_kill_right_after_a_line_leaves_no_index_mask_as_it_was_before(store, photos, line):
    """Whatever the last line changed, also where nothing is left or what an instance was moved from."""
    with store.file.open("a") as file:
        file.write(json.dumps(line) + "\n")
    Store(photos, store.out)
    made = {path: (store.out / path).read_bytes() for path in files(store)}
    shutil.rmtree(store.out / "masks")
    shutil.rmtree(store.out / "images")
    Store(photos, store.out)
    assert {path: (store.out / path).read_bytes() for path in files(store)} == made


def test_a_line_that_is_no_annotation_is_named(store, photos):
    """Not skipped: what a person annotated is not dropped in silence."""
    kept = store.file.read_bytes()
    store.file.write_bytes(b'{"event": "dance"}\n' + kept)
    with pytest.raises(ValueError, match=r"annotations.jsonl:1: not an annotation; put the file back"):
        Store(photos, store.out)
    store.file.write_bytes(kept + b'{"event": "undo", "n": 9}\n')
    with pytest.raises(ValueError, match=r"annotations.jsonl: events that do not fit together"):
        Store(photos, store.out)


def test_more_instances_than_an_index_mask_holds_are_refused(photos):
    """254: 0 is none, 255 is void."""
    store = Store(photos, photos.parent / "out")
    lines = [event(v, "synthetic-0000", SQUARE) for v in range(1, module.MOST + 1)]
    store.file.write_text("".join(json.dumps(line) + "\n" for line in lines))
    with pytest.raises(ValueError, match="254 instances of starfish already"):
        Store(photos, store.out).new_value("synthetic-0000", "starfish")


def test_token_and_place_are_kept_where_only_their_owner_reads_them(photos):
    """A reload after another start needs the same token; on a shared machine nobody else may have it."""
    store = Store(photos, photos.parent / "out")
    store.keep(place=["synthetic-0001", "starfish"])
    again = Store(photos, store.out)
    assert again.kept == store.kept
    assert len(store.kept["token"]) >= 24
    if os.name == "posix":
        assert stat.S_IMODE((store.out / "annotator.json").stat().st_mode) == 0o600
    (store.out / "annotator.json").write_bytes(b"")  # a power cut
    again = Store(photos, store.out)
    assert again.kept["token"]
    assert "the page has a new address" in again.notices[0]


def test_other_categories_than_before_keep_the_ids_and_say_so(photos):
    """The order of the keys is that of --categories; ids never change."""
    out = photos.parent / "out"
    Store(photos, out).name_categories(["leaf", "moth"])
    again = Store(photos, out)
    for given, expected in ((["leaf"], ["leaf", "moth"]), (["bee", "moth"], ["bee", "moth", "leaf"])):
        assert again.notices == []
        again.name_categories(given)
        assert again.categories == expected
    assert again.history.categories == ["leaf", "moth", "bee"]
    assert again.notices == ["--categories bee moth: an earlier run had others; the ids stay: 1 leaf, 2 moth, 3 bee"]
    for name, line in (("Leaf", "category 'Leaf': 'leaf' is there already"), ("a/b", "expected a name that a folder")):
        with pytest.raises(ValueError, match=line):
            again.add_categories([name])


def test_existing_masks_are_instances_to_correct_and_are_brought_in_once(photos, tmp_path):
    """--masks: NAME.png and CATEGORY/NAME.png, index or binary, also in masks/; what was deleted stays away."""
    index = np.zeros((64, 64), int)
    index[:8], index[20:30] = 1, 2
    write(tmp_path / "set" / "masks" / "synthetic-0000_mask.png", index)
    write(tmp_path / "set" / "masks" / "clover" / "synthetic-0001.png", np.where(SQUARE, 255, 0).astype(np.uint8))
    write(tmp_path / "set" / "masks" / "nobody.png", index)
    store = Store(photos, photos.parent / "out")
    store.name_categories(["starfish"])
    bring_in(store, tmp_path / "set")
    assert [(e["image"], e["category"], e["value"]) for e in store.live] == [
        ("synthetic-0001", "clover", 1),
        ("synthetic-0000", "starfish", 1),
        ("synthetic-0000", "starfish", 2),
    ]
    assert np.array_equal(store.index("synthetic-0000", "starfish"), index)
    assert {e["image"]: e["photo"] for e in store.live} == {
        name: image_digest(read_image(photos / f"{name}.png")) for name in ("synthetic-0000", "synthetic-0001")
    }
    assert not any(store.done(name, "starfish") for name in store.names)  # they have yet to be looked at
    assert store.history.undoable == []
    assert "1 masks without an image are left out (nobody.png ...)" in store.notices[-1]
    store.add({"event": "delete", "id": 1})
    for _ in range(2):
        bring_in(store, tmp_path / "set" / "masks")
        assert list(store.history.live) == [2, 3]


def test_existing_masks_that_a_kill_cut_short_are_brought_in_whole(photos, tmp_path):
    """A kill between the lines of one image's instances: the rest comes with the next start."""
    index = np.arange(4).repeat(16)[:, None].repeat(64, axis=1)
    write(tmp_path / "set" / "synthetic-0000.png", index)
    store = Store(photos, photos.parent / "out")
    store.name_categories(["starfish"])
    bring_in(store, tmp_path / "set")
    whole = store.file.read_bytes()
    store.file.write_bytes(b"".join(whole.splitlines(keepends=True)[:2]))
    bring_in(again := Store(photos, store.out), tmp_path / "set")
    assert again.file.read_bytes() == whole
    assert np.array_equal(read_mask(again.mask_file("synthetic-0000", "starfish")), index)


def test_existing_masks_of_two_files_or_of_another_size_are_named(photos, tmp_path):
    """Two would have the same values in one index mask; one of another size would be laid over the wrong pixels."""
    store = Store(photos, photos.parent / "out")
    store.name_categories(["starfish"])
    for name in ("synthetic-0000.png", "starfish/synthetic-0000.png"):
        write(tmp_path / "set" / name, SQUARE.astype(np.uint8))
    with pytest.raises(ValueError, match=r"synthetic-0000.png is there too; keep one of them"):
        bring_in(store, tmp_path / "set")
    write(tmp_path / "other" / "synthetic-0000.png", np.ones((9, 9), int))
    with pytest.raises(ValueError, match=r"synthetic-0000.png: of 9x9 pixels, its image of 64x64"):
        bring_in(store, tmp_path / "other")


def test_killed_at_random_moments_nothing_that_was_saved_is_lost(pristine, photos):
    """SIGKILL: every instance that the page called saved is there, masks agree, the next proposal is the same."""
    wrong, saved = found(pristine, photos, int(os.environ.get("SIIS_KILLS", "2")))
    print(f"{saved} changes were called saved")
    assert wrong == []
    assert saved > 0


@pytest.mark.parametrize("error", [OSError(28, "no space"), MemoryError("no space")])
def test_what_a_full_disk_lets_through_in_part_is_taken_back_whole(store, monkeypatch, error):
    """Two index masks change and only the first one can be written: both are as the lines have them."""
    before = {path: (store.out / path).read_bytes() for path in files(store)}
    log, write_mask = store.file.read_bytes(), Store._write_mask

    def full(self, image, category):
        if category == "starfish" and self.history is not kept:
            raise error
        write_mask(self, image, category)

    kept = store.history
    monkeypatch.setattr(Store, "_write_mask", full)
    with pytest.raises(type(error), match="no space"):
        store.add({"event": "category", "id": 2, "category": "clover", "value": 7})
    assert {path: (store.out / path).read_bytes() for path in files(store)} == before
    assert store.file.read_bytes() == log
    assert store.history is kept


def test_a_disk_too_full_to_take_a_save_back_leaves_masks_that_agree_with_the_lines_after_the_next_start(
    annotated, monkeypatch
):
    """The first of two index masks is written, the second is not, and neither is the first as it was before."""
    store, ring, _ = annotated
    store.add(event(4, "synthetic-0000", ring, "clover"))
    store.add({"event": "delete", "id": 3})
    before, log, left = {path: (store.out / path).read_bytes() for path in files(store)}, store.file.read_bytes(), [1]

    def full(path):
        if not left:
            raise OSError(28, "no space", str(path))
        left.pop()
        return atomic(path)

    with monkeypatch.context() as patch:
        patch.setattr(module, "atomic", full)
        with pytest.raises(OSError, match="no space"):
            store.add({"event": "category", "id": 2, "category": "clover", "value": 7})
    assert store.file.read_bytes() == log
    again = Store(store.folder, store.out)
    assert {path: (store.out / path).read_bytes() for path in files(again)} == before
