"""Parts of a data set on a Ray cluster (optional: `pip install dcp-hw[ray]`)."""

from __future__ import annotations

from collections.abc import Iterator

from dcp_hw.errors import ToolError, ToolMissing
from dcp_hw.maestro.dataset_make import Spread
from dcp_hw.maestro.dataset_plan import Plan
from dcp_hw.maestro.dataset_rows import part_bytes


def cluster(address: str) -> Spread:
    """Makes parts on a cluster; bytes come back, so that no shared folder is needed.

    Args:
        address: as `ray.init` takes it: HOST:PORT, ray://HOST:PORT, auto, or local for a cluster on
            this machine. dcp-hw must be installed on its machines.
    Raises: ToolMissing without Ray.
    """
    try:
        import ray
    except ImportError:
        raise ToolMissing(
            "Ray is not installed; run `pip install 'dcp-hw[ray]'` (or leave out --ray)"
        ) from None

    def spread(plan: Plan, parts: list[int]) -> Iterator[tuple[int, bytes]]:
        try:
            ray.init(address=address, include_dashboard=False, log_to_driver=False)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ToolError(f"Ray at '{address}' cannot be reached: {error}") from None
        try:
            task, shared = ray.remote(part_bytes), ray.put(plan)
            running = {task.remote(shared, part): part for part in parts}
            while running:
                for done in ray.wait(list(running), num_returns=1)[0]:
                    yield running.pop(done), ray.get(done)
        finally:
            ray.shutdown()

    return spread
