"""A device and its transfers: the same calls on a GPU and, where there is none, on the CPU.

On a GPU, transfers go through page-locked memory while the host goes on; those to it have a stream
of their own. Functions are recorded as CUDA graphs, so that dozens of small kernels cost one
launch. On the CPU nothing of this is needed.
"""

from collections.abc import Callable, Hashable, Sequence
from typing import Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Size = TypeVar("Size", bound=Hashable)


def concatenate(parts: Sequence[NDArray[np.float32]], device: torch.device) -> NDArray[np.float32]:
    """Arrays [n, f] one below the other, in page-locked memory where a GPU is to read them."""
    shape = (sum(map(len, parts)), parts[0].shape[1])
    made: NDArray[np.float32] = torch.empty(shape, pin_memory=device.type == "cuda").numpy()
    return np.concatenate(parts, out=made)


def dot(rows: Tensor, weights: Tensor) -> Tensor:
    """[n, f] times [f], added up in float32, [n]."""
    if rows.dtype == torch.float32:
        return rows @ weights
    if rows.device.type == "cuda":
        return torch.mm(rows, weights[:, None], out_dtype=torch.float32)[:, 0]
    return rows.float() @ weights.float()


class Link:
    """Transfers between the host and a device."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self._is_gpu = device.type == "cuda"
        self._sending = torch.cuda.Stream(device) if self._is_gpu else None  # type: ignore[no-untyped-call]

    def zeros(self, size: int) -> Tensor:
        """Zeros on the host to `send`, [size], float32.

        Their memory is used again only after the transfer.
        """
        return torch.zeros(size, pin_memory=self._is_gpu)

    def send(self, host: Tensor) -> Tensor:
        """Return what `zeros` gave, on the device.

        What is computed from it there waits for the transfer; the host does not.
        """
        if self._sending is None:
            return host.to(self.device)
        with torch.cuda.stream(self._sending):
            sent = host.to(self.device, non_blocking=True)
        here = torch.cuda.current_stream(self.device)
        here.wait_stream(self._sending)
        sent.record_stream(here)
        return sent

    def receive(self, made: Tensor) -> Callable[[], Tensor]:
        """Begin a transfer to the host; what is returned waits for it."""
        if self._sending is None:
            return lambda: made
        host = torch.empty(made.shape, dtype=made.dtype, pin_memory=True)
        host.copy_(made, non_blocking=True)
        done = torch.cuda.Event()  # type: ignore[no-untyped-call]
        done.record(torch.cuda.current_stream(self.device))

        def wait() -> Tensor:
            done.synchronize()
            return host

        return wait


class _Recording(NamedTuple):
    graph: torch.cuda.CUDAGraph
    given: Tensor
    made: Tensor


class Recorded(Generic[Size]):
    """A function of a size and a tensor of that size, recorded once per size on a GPU and replayed.

    The other inputs of the function must stay at their place in memory. The next call overwrites
    its result, so a copy of it must begin before.
    """

    def __init__(self, function: Callable[[Size, Tensor], Tensor], device: torch.device) -> None:
        self._function, self._device = function, device
        self._recordings: dict[Size, _Recording] = {}
        # one memory for all: they run one after the other, and what one made is read before the
        # next one runs
        self._pool = torch.cuda.graph_pool_handle() if device.type == "cuda" else None

    @torch.inference_mode()
    def __call__(self, size: Size, given: Tensor) -> Tensor:
        """The function's result."""
        if self._device.type != "cuda":
            return self._function(size, given)
        if size not in self._recordings:
            self._recordings[size] = self._record(size, given.clone())
        recording = self._recordings[size]
        recording.given.copy_(given)
        recording.graph.replay()
        return recording.made

    def _record(self, size: Size, given: Tensor) -> _Recording:
        aside = torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]
        here = torch.cuda.current_stream(self._device)
        aside.wait_stream(here)
        # libraries set themselves up at a first call, which cannot be recorded
        with torch.cuda.stream(aside):
            self._function(size, given)
        here.wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        # texts are encoded in a thread of their own, which may ask for memory at any time
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            made = self._function(size, given)
        return _Recording(graph, given, made)
