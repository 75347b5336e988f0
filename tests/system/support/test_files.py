"""`support.files`: written whole or not at all, read without running what is in them."""

import pytest
import torch
from processes import disk_of

from support.files import atomic, sweep, write_tensors


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    """A run that dies while saving, or meets a full disk, leaves the older checkpoint and no litter."""
    path = tmp_path / "net.pt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        raise KeyboardInterrupt(temporary.write_text("half of the n"))
    error = rf"^{path}: cannot be written \(.*\); free some space, what was there before is kept$"
    with disk_of(2**16), pytest.raises(OSError, match=error):
        write_tensors(path, torch.zeros(2**16))
    assert path.read_text() == "old"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]


def test_what_killed_processes_left_is_swept_by_a_pattern_of_names_in_a_folder_that_is_taken_literally(tmp_path):
    """`sweep`'s contract: in a path only the last part is a pattern; a folder may be called anything."""
    swept, other = tmp_path / "mugs [2]", tmp_path / "mugs 2"
    for folder in (swept, other):
        folder.mkdir()
        for name in (".a.123.png", ".b.123.png", "a.png", ".a.123.txt", ".lock.png"):
            (folder / name).touch()
    sweep(swept / "*.png")
    assert sorted(p.name for p in swept.iterdir()) == [".a.123.txt", ".lock.png", "a.png"]
    assert len(list(other.iterdir())) == 5
