"""`support.files`: written whole or not at all, read without running what is in them."""

import pytest

from support.files import atomic, read_tensors


@pytest.mark.parametrize("text", ["a readme\n", "Go"])
def test_a_text_file_is_no_readable_checkpoint_whatever_its_first_letter(tmp_path, text):
    """CONTRIBUTING, 'How errors read': bad input is a ValueError with what was got."""
    (tmp_path / "readme.pt").write_text(text)
    with pytest.raises(ValueError, match=r"readme\.pt"):
        read_tensors(tmp_path / "readme.pt")


def test_a_file_is_written_whole_or_not_at_all(tmp_path):
    """A run that dies while saving leaves the older checkpoint and no litter."""
    path = tmp_path / "net.pt"
    path.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic(path) as temporary:
        raise KeyboardInterrupt(temporary.write_text("half of the n"))
    assert path.read_text() == "old"
    with atomic(path) as temporary:
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert path.read_text() == "new"
    assert [p.name for p in tmp_path.iterdir()] == ["net.pt"]
