import pytest
import torch


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """No test may reach the network, and weights are the same in every run."""
    import socket

    def refuse(*args, **kwargs):
        raise OSError("tests do not use the network")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    torch.manual_seed(0)
