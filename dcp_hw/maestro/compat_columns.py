"""The columns of a result: MAESTRO's CSV line, and short names for batches.

Source: maestro-project/maestro commit 4eb08d1, API_user-interface-v2, DSE_csv_writer,
DSE_hardware_modules and DSE_cost-database.
"""

from __future__ import annotations

from collections.abc import Iterable

from dcp_hw.maestro.compat import INF, KINDS, LONG_MIN, CompatResult, ratio

MAC_NJ = 0.00023
L1_MACS = 1.68
L2_MACS = 18.61

COUNTERS = tuple(f"{kind}_{store}" for kind in KINDS for store in ("l1r", "l1w", "l2r", "l2w"))
DELAYS = tuple(f"{kind}_{what}" for kind in ("ing", "egr", "cmp") for what in ("min", "max", "avg"))


def wrap32(value: int) -> int:
    """The value in a 32-bit integer."""
    return (value + (1 << 31)) % (1 << 32) - (1 << 31)


def columns(result: CompatResult) -> dict[str, int | float]:
    """One row of a batch: costs, requirements, counters, delays.

    Energies are those of a layer alone in its file. Units: cycles, nJ, elements, um², mW.
    """
    counts, hardware = result.counts, result.hardware
    l1_need, l2_need = wrap32(result.l1_need), wrap32(sum(counts.up_need))
    row: dict[str, int | float] = {
        "runtime": counts.runtime,
        "energy_nj": energy_nj(result),
        "energy_full_nj": energy_full_nj(result),
        "throughput": ratio(counts.macs, counts.runtime),
        **area_and_power(hardware.pes, hardware.simd, hardware.noc_bw, l1_need, l2_need),
        "l1_req": l1_need,
        "l2_req": l2_need,
        "macs_reported": counts.macs,
        "peak_bw": counts.peak_bandwidth,
        "avg_bw": ratio(counts.bandwidth_sum, counts.iterations),
        "offchip_bw_req": counts.offchip_bandwidth,
        "avg_pes": counts.active,
        "arith_intensity": counts.intensity,
    }
    for i, kind in enumerate(KINDS):
        row[f"{kind}_l1r"] = counts.down_read[i]
        row[f"{kind}_l1w"] = counts.down_write[i]
        row[f"{kind}_l2r"] = counts.up_read[i]
        row[f"{kind}_l2w"] = counts.up_write[i]
    for kind, (least, most, total) in zip(("ing", "egr", "cmp"), counts.delays, strict=True):
        done = counts.iterations
        row[f"{kind}_min"] = LONG_MIN if least == INF else least
        row[f"{kind}_max"] = most
        row[f"{kind}_avg"] = abs(total) // done * (-1 if total < 0 else 1) if done else LONG_MIN
    return row


def energy_nj(result: CompatResult, before: Iterable[tuple[int, int]] = ()) -> float:
    """The energy column of MAESTRO's CSV.

    Args:
        before: (reads, writes) of L1 per tensor of the layer before in the same file, which
            MAESTRO counts for a mapping of several levels instead of its own.
    """
    counts, total = result.counts, 0.0  # summed in MAESTRO's order: the sixth digit depends on it
    for i in (0, 1):
        total += counts.up_read[i] * L2_MACS
        total += counts.up_write[i] * L2_MACS
    total += counts.up_write[2] * L2_MACS
    own = zip(counts.down_read, counts.down_write, strict=True)
    pairs = own if result.single else before
    for read, written in pairs:
        total += read * L1_MACS
        total += written * L1_MACS
    return total * MAC_NJ


def energy_full_nj(result: CompatResult) -> float:
    """The total energy on MAESTRO's screen: L2, L1 and MACs of this layer."""
    counts = result.counts
    level2 = sum(counts.up_read) + sum(counts.up_write)
    level1 = sum(counts.down_read) + sum(counts.down_write)
    return MAC_NJ * (L2_MACS * level2 + L1_MACS * level1 + counts.macs)


def area_and_power(
    pes: int, simd: int, noc_bw: int, l1_need: int, l2_need: int
) -> dict[str, float]:
    """Area in um² and power in mW of an accelerator whose buffers are as large as required."""
    arbiter = 1.2886 * pes**2 + 5.5814 * pes - 23.711
    bus = 14.662 * pes + 28.895
    l1_need, l2_need = l1_need or 1, l2_need or 1
    pe_power, l1_power, l2_power = 1.2223 * simd * pes, 0.00345 * l1_need * pes, 0.00345 * l2_need
    noc_power = 0.8 * bus / 1000 * noc_bw + 0.34 * max(arbiter / 1000, 1)
    return {
        "area": pes * (283 * simd + 0.104 * l1_need)
        + 0.104 * l2_need
        + 101.7938 * bus * noc_bw
        + 395.473 * max(arbiter, 1),
        "power": pe_power + l1_power + l2_power + noc_power,
        "pe_power": pe_power,
        "l1_power": l1_power,
        "l2_power": l2_power,
        "noc_power": noc_power,
    }
