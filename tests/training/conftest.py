"""The networks of training's tests."""

import pytest
from networks import thin, thin_net


@pytest.fixture(scope="module")
def thin_networks():
    """What is trained and saved here is a thin network, and so are the checkpoints."""
    with thin():
        yield


@pytest.fixture(scope="module")
def pristine():
    """A thin random network in eval mode, to be copied."""
    return thin_net()
