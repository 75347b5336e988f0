"""annotator/store.py, course.py, export.py and the program: what is written, and that it is never lost."""

import json
import os
import subprocess
import sys
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image, ImageDraw
from strategies import seeds

import annotate
import report
from annotator import export, statistics
from annotator.store import Store, from_counts, to_counts
from loaders.folders import Folder

MASKS = hnp.arrays(np.bool_, st.tuples(st.integers(1, 9), st.integers(1, 9)))


def event(number, image, mask, category="starfish", **more):
    """A line as a finished instance writes it."""
    return {
        "event": "finish",
        "id": number,
        "image": image,
        "category": category,
        "value": number,
        "clicks": [[0, 0, True]],
        "proposal": None,
        "accepted": None,
        "seconds": {"first": 1.0, "after": None, "total": 2.0, "kind": "click", "valid": True},
        "plain": False,
        "learn": False,
        "size": list(mask.shape),
        "counts": to_counts(mask),
        **more,
    }


@given(MASKS)
def test_run_lengths_give_the_mask_back(mask):
    """Round trip; COCO's order: column by column, background first."""
    counts = to_counts(mask)
    assert np.array_equal(from_counts(counts, mask.shape), mask)
    assert sum(counts) == mask.size
    assert all(n > 0 for n in counts[1:])


def test_run_lengths_of_another_size_are_refused():
    """A line that was changed by hand is no mask."""
    with pytest.raises(ValueError, match="run lengths of 5 pixels for a mask of 2x3"):
        from_counts([2, 3], (2, 3))


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
@given(MASKS.filter(lambda m: m.any()))
def test_run_lengths_are_what_pycocotools_reads(mask):
    """Uncompressed COCO RLE."""
    coco = pytest.importorskip("pycocotools.mask", reason="no pycocotools: pip install -e '.[dev]'")
    rle = coco.frPyObjects({"counts": to_counts(mask), "size": list(mask.shape)}, *mask.shape)
    assert np.array_equal(coco.decode(rle).astype(bool), mask)


def filled(polygons, shape):
    """Even-odd rule at the middle of every pixel, by counting crossings: the oracle."""
    inside = np.zeros(shape, bool)
    for polygon in polygons:
        for (y0, x0), (y1, x1) in zip(polygon, polygon[1:] + polygon[:1], strict=True):
            if x0 == x1:  # a vertical edge: it turns all pixels on its right hand side
                inside[min(y0, y1) : max(y0, y1), x0:] ^= True
    return inside


@given(MASKS)
def test_outlines_filled_give_the_mask_back_without_its_holes(mask):
    """Polygons lose holes, and nothing else; each 4-connected region has one outline."""
    polygons, holes = export.outlines(mask)
    outside = flooded(~np.pad(mask, 1))[1:-1, 1:-1]
    expected = np.zeros_like(mask)
    for polygon in polygons:
        expected |= filled([polygon], mask.shape)
    assert np.array_equal(expected, ~outside)
    assert (holes == 0) == bool((mask == ~outside).all())


def flooded(free):
    """What can be reached from the corner over free pixels, diagonally too."""
    reached = np.zeros_like(free)
    reached[0, 0] = True
    while True:
        wide = np.pad(reached, 1)
        near = [wide[r : r + free.shape[0], c : c + free.shape[1]] for r in range(3) for c in range(3)]
        grown = np.any(near, axis=0) & free
        if np.array_equal(grown, reached):
            return reached
        reached = grown


def test_a_polygon_goes_round_the_pixels_and_not_through_them():
    """A single pixel has the four corners of its square."""
    mask = np.zeros((3, 4), bool)
    mask[1, 2] = True
    assert export.outlines(mask) == ([[(1, 2), (1, 3), (2, 3), (2, 2)]], 0)


@pytest.fixture
def annotated(photos):
    """Two instances in one image, a ring and a square that hides a part of it, and one in another."""
    store = Store(photos, photos.parent / "out")
    ring, square = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    ring[5:30, 5:30] = True
    ring[10:20, 10:20] = False
    square[25:40, 25:40] = True
    store.add(event(1, "synthetic-0000", ring))
    store.add(event(2, "synthetic-0000", square))
    store.add(event(3, "synthetic-0002", ring, "clover"))
    return store, ring, square


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


def test_coco_holds_every_mask_whole(annotated):
    """Run lengths: holes survive, and so does what a later instance covers."""
    store, ring, _ = annotated
    assert "3 instances of 2 images" in export.coco(store)
    content = json.loads((store.out / "annotations.json").read_text())
    assert [c["name"] for c in content["categories"]] == ["clover", "starfish"]
    assert [i["file_name"] for i in content["images"]] == ["synthetic-0000.png", "synthetic-0002.png"]
    first = content["annotations"][0]
    assert np.array_equal(from_counts(first["segmentation"]["counts"], first["segmentation"]["size"]), ring)
    assert first["area"] == ring.sum()
    assert first["bbox"] == [5, 5, 25, 25]


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools with NumPy 2
def test_pycocotools_opens_the_file_and_finds_the_masks_holes_included(annotated):
    """The public reader of the format gives back every mask, its image and its category."""
    reader = pytest.importorskip("pycocotools.coco", reason="no pycocotools: pip install -e '.[dev]'")
    store, ring, square = annotated
    export.coco(store)
    read = reader.COCO(str(store.out / "annotations.json"))
    found = read.loadAnns(read.getAnnIds())
    assert len(found) == 3
    for annotation, mask in zip(found, (ring, square, ring), strict=True):
        assert np.array_equal(read.annToMask(annotation).astype(bool), mask)
    (last,) = read.loadAnns(read.getAnnIds(catIds=read.getCatIds(["clover"])))
    assert read.loadImgs(last["image_id"])[0]["file_name"] == "synthetic-0002.png"


def test_yolo_and_labelme_say_that_holes_are_lost(annotated):
    """Polygons have no holes: the line on the terminal counts them."""
    store, ring, _ = annotated
    assert "2 holes are lost" in export.yolo(store)
    assert "2 holes are lost" in export.labelme(store)
    line = (store.out / "yolo" / "labels" / "synthetic-0002.txt").read_text().split()
    assert line[0] == "0"
    assert np.allclose([float(v) for v in line[1:5]], np.array([5, 5, 30, 5]) / 64, atol=1e-6)
    shapes = json.loads((store.out / "labelme" / "synthetic-0000.json").read_text())["shapes"]
    assert [s["label"] for s in shapes] == ["starfish", "starfish"]
    whole = filled([[(int(y), int(x)) for x, y in shapes[0]["points"]]], ring.shape)
    assert whole[15, 15]


PARTS = [[(10, 10, 40, 30), (15, 100, 35, 120)], [(40, 60, 50, 70), (2, 3, 9, 50), (20, 5, 60, 25)]]


@pytest.mark.parametrize("parts", PARTS)
def test_a_yolo_polygon_of_several_parts_is_filled_as_the_mask(photos, parts):
    """YOLO has one polygon per instance; Pillow fills it, sixteen times enlarged, and not what lies between."""
    mask = np.zeros((64, 128), bool)
    for top, left, bottom, right in parts:
        mask[top:bottom, left:right] = True
    store = Store(photos, photos.parent / "out")
    store.add(event(1, "synthetic-0000", mask))
    export.yolo(store)
    numbers = [float(v) for v in (store.out / "yolo" / "labels" / "synthetic-0000.txt").read_text().split()[1:]]
    points = [(round(x * 128) * 16, round(y * 64) * 16) for x, y in zip(numbers[::2], numbers[1::2], strict=True)]
    picture = Image.new("L", (128 * 16, 64 * 16))
    ImageDraw.Draw(picture).polygon(points, fill=1)
    shares = np.asarray(picture, float).reshape(64, 16, 128, 16).mean(axis=(1, 3))
    np.testing.assert_array_equal(shares > 0.5, mask)


def test_an_export_leaves_nothing_of_what_was_deleted_since_and_no_file_of_others_is_touched(annotated):
    """An export is what is annotated now; files that no export made stay."""
    store, *_ = annotated
    for write in export.FORMATS.values():
        write(store)
    others = [store.out / "yolo" / "labels" / "synthetic-0001.txt", store.out / "labelme" / "mine.json"]
    for file in others:
        file.write_text("of somebody else")
    store.add({"event": "delete", "id": 3})
    for write in export.FORMATS.values():
        write(store)
    left = sorted(
        p.relative_to(store.out).as_posix() for f in ("yolo/labels", "labelme") for p in (store.out / f).iterdir()
    )
    names = [f.relative_to(store.out).as_posix() for f in others]
    assert left == sorted([*names, "yolo/labels/synthetic-0000.txt", "labelme/synthetic-0000.json"])


def test_the_end_of_a_line_that_a_kill_cut_short_is_dropped(annotated, photos):
    """Nobody was told of it; the lines before it count, and so do those that follow."""
    store, *_ = annotated
    whole = store.file.read_bytes()
    store.file.write_bytes(whole + b'{"event":"finish","id":4,"ima')
    again = Store(photos, store.out)
    assert [e["id"] for e in again.live] == [1, 2, 3]
    again.add({"event": "delete", "id": 3})
    assert [e["id"] for e in Store(photos, store.out).live] == [1, 2]


def test_index_masks_are_made_anew_from_the_lines(annotated, photos):
    """A kill between the line and its index mask, or a damaged mask."""
    store, *_ = annotated
    files = sorted((store.out / "masks").rglob("*.png"))
    before = [f.read_bytes() for f in files]
    files[0].unlink()
    files[1].write_bytes(b"damaged")
    Store(photos, store.out)
    assert [f.read_bytes() for f in files] == before


def test_a_half_written_index_mask_is_removed_at_the_next_start(annotated, photos):
    """A kill while one is written leaves a temporary file in the category's folder; whole masks stay."""
    store, *_ = annotated
    files = sorted((store.out / "masks").rglob("*.png"))
    for category in ("starfish", "clover"):
        (store.out / "masks" / category / ".synthetic-0000.123.png").write_bytes(b"half")
    Store(photos, store.out)
    assert sorted((store.out / "masks").rglob("*.png")) == files


def test_a_line_that_is_no_annotation_is_named(annotated, photos):
    """Not skipped: what a person annotated is not dropped in silence."""
    store, *_ = annotated
    store.file.write_bytes(b'{"event": "dance"}\n' + store.file.read_bytes())
    with pytest.raises(ValueError, match=r"annotations.jsonl:1: not an annotation"):
        Store(photos, store.out)


def test_more_instances_than_an_index_mask_holds_are_refused(photos):
    """254: 0 is none, 255 is void."""
    store = Store(photos, photos.parent / "out")
    store.live = [event(v, "synthetic-0000", np.eye(2, dtype=bool)) for v in range(1, 255)]
    with pytest.raises(ValueError, match="254 instances of starfish already"):
        store.new_value("synthetic-0000", "starfish")


def test_a_session_file_spares_repeating_and_changes_nothing(serve, discs, centre, photos, monkeypatch):
    """A cache: with it and without it the session is the same, and a damaged or foreign one is passed over."""
    monkeypatch.setattr("annotator.course.CACHED", 2)
    client = serve()
    client.post("/state")
    client.open()
    for k in range(3):
        client.open(k)
        client.finish(centre(k))
        client.settle()
    found = list((photos.parent / "out").glob("session-*.pt"))
    assert len(found) == 1
    repeated = []

    def start():
        again = serve()
        again.post("/state")
        course = again.server.work.course
        repeated.append(len(course.undos))
        course.rounds["starfish"].result()
        return again.open(3), [s.clone() for s in course.session.category("starfish").bank.sums]

    (cached, bank), kept = start(), found[0].read_bytes()
    found[0].write_bytes(kept[: len(kept) // 2])
    (plain, same), _ = start(), found[0].unlink()
    assert repeated == [1, 3]
    assert cached["proposal"] == plain["proposal"]
    assert np.allclose(bank[0], same[0], atol=1e-5)


def test_killed_at_random_moments_nothing_that_was_saved_is_lost(photos, tmp_path):
    """SIGKILL: every instance that the page called saved is there, masks agree, the next proposal is the same."""
    kills = os.environ.get("SIIS_KILLS", "2")
    line = [sys.executable, Path(__file__).with_name("kills.py"), photos, tmp_path / "killed", "0", kills]
    environment = {**os.environ, "PYTHONPATH": str(Path(annotate.__file__).parent)}
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    print(done.stdout)
    found = json.loads(done.stdout)
    assert found["wrong"] == []
    assert found["saved"] > 0


# ---- the program -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere"], "nowhere: no such folder"),
        (["{photos}", "--categories", "a/b"], "expected a name that a folder can have"),
        (["{photos}", "--categories", "a", "a"], "one is named twice"),
        (["{photos}", "--port", "70000"], "expected a port"),
        (["{photos}", "--weights", "nowhere.pt"], "nowhere.pt: no such file"),
        (["{photos}", "--export", "svg"], "invalid choice"),
        (["{empty}"], "no image inside"),
    ],
)
def test_bad_input_is_one_line(refused, photos, tmp_path, arguments, message):
    """CONTRIBUTING, 'How errors read': one line that names the thing, exit code 2."""
    (tmp_path / "empty").mkdir()
    filled_in = [a.format(photos=photos, empty=tmp_path / "empty") for a in arguments]
    assert message in refused(filled_in, annotate.main, "annotate")


def test_a_second_server_on_the_folder_is_refused_in_one_line(refused, photos):
    """Two programs would write over each other; the lock is that of `exclusive`."""
    pytest.importorskip("fcntl", reason="no fcntl on this system")
    lock = photos.parent / "photos-annotations" / "lock"
    lock.parent.mkdir()
    script = (
        "import fcntl, sys; f = open(sys.argv[1], 'a+'); fcntl.lockf(f, fcntl.LOCK_EX); print('held'); sys.stdin.read()"
    )
    with subprocess.Popen([sys.executable, "-uc", script, lock], stdin=-1, stdout=-1, text=True) as other:
        assert other.stdout.readline() == "held\n"
        assert "in use by another process" in refused([photos], annotate.main, "annotate")
        other.stdin.close()


def test_export_writes_and_ends(annotated, photos, capsys):
    """--export needs no network and no page."""
    store, *_ = annotated
    annotate.main([str(photos), "--out", str(store.out), "--export", "coco", "yolo", "labelme"])
    assert len(capsys.readouterr().out.splitlines()) == 3
    assert (store.out / "yolo" / "data.yaml").exists()


def test_summary_prints_rows_and_tab_4(annotated, photos, capsys):
    """`annotate.py --summary` and `report.py --study`: clicks and seconds with intervals, and those of Tab. 4."""
    store, *_ = annotated
    annotate.main([str(photos), "--out", str(store.out), "--summary"])
    text = capsys.readouterr().out
    report.main(["--study", str(store.out)])
    assert capsys.readouterr().out == text
    assert "| (d) ICP + OPO | 3 | 1.00 [1.00, 1.00] | 2.00 [2.00, 2.00] |" in text
    assert "| (a) provide the initial click | 3 | 1.00 [1.00, 1.00] |" in text
    assert "| (b) reject a proposal | 0 | no times |" in text


# ---- statistics ------------------------------------------------------------------------------------------------------


def timed(kind, first, accepted, after=None, valid=True, plain=False):
    seconds = {"first": first, "after": after, "total": first + 1, "kind": kind, "valid": valid}
    proposal = None if accepted is None else [0, 0]
    return {"clicks": [[0, 0, True]], "proposal": proposal, "accepted": accepted, "seconds": seconds, "plain": plain}


def test_saved_time_is_hits_times_what_a_click_costs_more_less_what_misses_cost():
    """hits (t_click - t_accept) - misses t_reject, of medians; times with a hidden tab or a long gap do not count."""
    events = [timed("click", 2.0, None), timed("click", 4.0, None), timed("click", 60.0, None, valid=False)]
    events += [timed("accept", 0.5, True)] * 3 + [timed("reject", 0.75, False, after=3.0)]
    found = statistics.saved(events)
    assert (found["t_click"], found["t_accept"], found["t_reject"]) == (3.0, 0.5, 0.75)
    assert found["saved"] == 3 * 2.5 - 0.75


def test_no_saved_time_is_shown_before_there_was_a_proposal():
    """Nothing was proposed, so nothing can have been saved."""
    events = [timed("click", 2.0, None)]
    assert "Seconds saved" not in dict(statistics.panel(events))
    assert dict(statistics.panel([*events, timed("accept", 0.5, True)]))["Seconds saved"] == "1.5"


def test_an_own_click_that_rejects_costs_what_it_took_longer_than_a_click():
    """A wrong proposal costs one Esc or simply the user's own click."""
    found = statistics.saved([timed("click", 2.0, None), timed("own", 2.75, False)])
    assert found["t_reject"] == 0.75


@given(seeds())
def test_a_study_takes_one_of_every_five(seed):
    """A seeded fifth."""
    chosen = [statistics.plain(k, seed) for k in range(20)]
    assert [sum(chosen[k : k + 5]) for k in range(0, 20, 5)] == [1, 1, 1, 1]


def test_the_end_shows_both_rows_with_intervals():
    """--study: row (a) and row (d), bootstrap intervals; an accepted proposal is no click (D14)."""
    events = [timed("click", 2.0, None, plain=True), *[timed("accept", 0.5, True)] * 4]
    text = statistics.summary(events)
    assert "| (a) plain | 1 | 1.00 [1.00, 1.00] | 3.00 [3.00, 3.00] |" in text
    assert "| (d) ICP + OPO | 4 | 0.00 [0.00, 0.00] | 1.50 [1.50, 1.50] |" in text


def test_the_interval_of_many_instances_needs_little_memory():
    """D29: the summary of a thousand instances takes some megabytes, and is the mean's normal interval."""
    values = np.random.default_rng(0).normal(5.0, 2.0, 1000)
    tracemalloc.start()
    mean, low, high = statistics.mean_and_interval(values)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 20e6
    error = 1.96 * values.std() / 1000**0.5
    assert (mean, low, high) == pytest.approx((values.mean(), values.mean() - error, values.mean() + error), rel=0.01)


def test_the_palette_shows_instances_and_keeps_their_values(annotated):
    """A palette PNG: values are instances, colours are for the eye."""
    store, *_ = annotated
    image = Image.open(store.out / "masks" / "starfish" / "synthetic-0000.png")
    assert image.mode == "P"
    assert np.unique(np.asarray(image)).tolist() == [0, 1, 2]
    colours = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(colours, axis=0)) == 3
