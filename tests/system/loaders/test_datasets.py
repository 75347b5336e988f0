"""`data.py`: every data set by its name, and the one line where it cannot be used."""

import numpy as np
import pytest
from layouts import INCOMPLETE, annotation, butterflies, coco, folder, run_lengths, voc

from data import DATASETS, Folder, open_dataset

pytestmark = pytest.mark.filterwarnings(INCOMPLETE)


def test_a_name_opens_its_data_set_with_limit_split_and_setting(tmp_path, monkeypatch):
    """`open_dataset`: PascalVOC, COCO in a setting of Tab. 8, or the path of a folder; else $SIIS_CACHE/data/NAME."""
    voc(tmp_path / "voc", split="train")
    assert len(open_dataset("PascalVOC", tmp_path / "voc", limit=3, split="train")) == 3
    assert isinstance(open_dataset(str(folder(tmp_path / "f", {"a": np.eye(4, dtype=int)})), None), Folder)
    small, large = np.eye(6, 9) > 0, np.ones((6, 9), bool)
    two = [annotation(run_lengths(small)), annotation(run_lengths(large), category=7)]
    root = coco(tmp_path / "data" / "COCO", two, categories=((1, "person"), (7, "donut")))
    assert [s.category for s in open_dataset("COCO", root, min_area=7)] == ["donut"]
    assert [s.category for s in open_dataset("COCO-donut", root)] == ["donut"]
    assert len(open_dataset("COCO", root)) == 2
    monkeypatch.setenv("SIIS_CACHE", str(tmp_path))
    assert [len(open_dataset(name, None)) for name in ("COCO", "COCO-donut")] == [2, 1]


@pytest.mark.parametrize("name", DATASETS)
def test_every_data_set_says_in_one_line_what_an_empty_root_lacks(tmp_path, name):
    """CONTRIBUTING, 'How errors read': what was got and expected; every name of `--data` is a data set below --root."""
    with pytest.raises(ValueError, match=str(tmp_path)) as error:
        open_dataset(name, tmp_path)
    assert "\n" not in str(error.value)


def test_a_butterfly_of_no_species_or_that_cannot_be_read_is_named_before_a_run_begins(tmp_path):
    """`data`: "a bad file is one clear error before a run begins"; never skip a file."""
    with pytest.raises(ValueError, match=r"0110001.png: begins with '011'; expected the number of a species"):
        open_dataset("LeedsButterfly", butterflies(tmp_path / "species", ("0010001", "0110001")))
    (lost := butterflies(tmp_path / "lost") / "segmentations/0010002_seg0.png").unlink()
    with pytest.raises(ValueError, match=f"images/0010002.png: its mask is missing; expected {lost}"):
        open_dataset("LeedsButterfly", tmp_path / "lost")
    (butterflies(tmp_path / "broken") / "images/0010002.png").write_text("not a picture")
    with pytest.raises(ValueError, match=r"images/0010002.png: not a readable"):
        open_dataset("LeedsButterfly", tmp_path / "broken")
