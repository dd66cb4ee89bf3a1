"""The sweep itself (compiled): every design's area, power and energy in closed form, and the front.

Model results are given per tile, number of PEs and bandwidth; L1 and L2 sizes are looped over here.
"""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# Reasons of a design, the first that holds; columns of `fate`.
L1_SMALL, L2_SMALL, AREA_OVER, POWER_OVER, VALID, FATES = range(6)

# Candidates of the front: rows of `pool`.
CYCLES, ENERGY, AREA, POWER, POOL_COLUMNS = range(5)

# Scales of the pictures and of the grid.
THROUGHPUT_BINS, AREA_BINS, POWER_BINS, ENERGY_BINS = 800, 320, 320, 400
ENERGY_OCTAVES = 10.0  # above the energy of the MACs alone
PER_OCTAVE = 32
GRID_CYCLES, GRID_ENERGY = PER_OCTAVE * 20, PER_OCTAVE * 12

# Scalars.
AREA_LIMIT, POWER_LIMIT, CLOCK, PE_MM2, PORT_MM2, PE_CLOCK, PORT_CLOCK, MAC_PJ, DRAM_PJ = range(9)
LEAST_CYCLES, LEAST_ENERGY, MACS, MOST_THROUGHPUT, SCALARS = range(9, 14)


@njit(cache=True, nogil=True, error_model="numpy")
def sweep(
    first: int,
    pes: Integers,
    bandwidths: Integers,
    l1_sizes: Integers,
    l2_kib: Integers,
    l1: Floats,
    l2: Floats,
    buffer: Floats,
    need: Integers,
    cycles: Floats,
    traffic: Floats,
    scalar: Floats,
    fate: Integers,
    by_area: Floats,
    by_power: Floats,
    by_energy: Integers,
    grid: Floats,
    pool: Floats,
    numbers: Integers,
) -> int:
    """Price all L1 and L2 sizes of the points of one tile; how many candidates for the front.

    Args:
        first: number of the first design of the tile.
        pes: PEs' place, PEs, clusters (points x 3).
        l1, l2: prices, sizes x 4 (dse_price).
        buffer: prices of one cluster's buffer, points x 4.
        need: L1, L2, cluster's buffer in elements, points x 3.
        cycles: points x bandwidths. traffic: points x TRAFFIC.
        fate: to count in, FATES.
        by_area, by_power, by_energy: pictures to add to (dse_plots).
        grid: least area of the candidates so far that have fewer cycles and less energy.
        pool, numbers: candidates and their designs.
    """
    found = 0
    clock = scalar[CLOCK]
    sizes = len(l1_sizes) * len(l2_kib)
    for point in range(len(pes)):
        place, count, clusters = pes[point, 0], pes[point, 1], pes[point, 2]
        moved = traffic[point]
        between = clusters * need[point, 2]
        fixed_pj = moved[7] * scalar[MAC_PJ]
        fixed_pj += moved[3] * buffer[point, 0] + moved[4] * buffer[point, 1]
        dram_pj = moved[0] * scalar[DRAM_PJ]
        logic = count * scalar[PE_MM2] + clusters * buffer[point, 3]
        for i in range(len(l1_sizes)):
            if l1_sizes[i] < need[point, 0]:
                fate[L1_SMALL] += len(bandwidths) * len(l2_kib)
                continue
            pe_pj = moved[5] * l1[i, 0] + moved[6] * l1[i, 1]
            for j in range(len(l2_kib)):
                left = l2_kib[j] * 1024 - between
                if left < need[point, 1]:
                    fate[L2_SMALL] += len(bandwidths)
                    continue
                row = (left + 1023) // 1024
                chip_pj = fixed_pj + pe_pj + moved[1] * l2[row, 0] + moved[2] * l2[row, 1]
                leak = l2[row, 2] + clusters * buffer[point, 2] + count * l1[i, 2]
                memories = logic + count * l1[i, 3] + l2[row, 3]
                for b in range(len(bandwidths)):
                    ports = (clusters + 1) * bandwidths[b]
                    area = memories + ports * scalar[PORT_MM2]
                    if area > scalar[AREA_LIMIT]:
                        fate[AREA_OVER] += 1
                        continue
                    time = cycles[point, b]
                    idle = count * scalar[PE_CLOCK] + ports * scalar[PORT_CLOCK]
                    chip = (chip_pj + idle * time) * 1e-3 + leak * time / clock
                    power = chip * clock / time
                    if power > scalar[POWER_LIMIT]:
                        fate[POWER_OVER] += 1
                        continue
                    fate[VALID] += 1
                    energy = chip + dram_pj * 1e-3
                    _draw(time, energy, area, power, count, scalar, by_area, by_power, by_energy)
                    at = _cell(time, scalar[LEAST_CYCLES], GRID_CYCLES)
                    over = _cell(energy, scalar[LEAST_ENERGY], GRID_ENERGY)
                    if grid[at, over] <= area:
                        continue
                    pool[found, CYCLES], pool[found, ENERGY] = time, energy
                    pool[found, AREA], pool[found, POWER] = area, power
                    numbers[found] = first + (place * len(bandwidths) + b) * sizes
                    numbers[found] += i * len(l2_kib) + j
                    found += 1
                    _mark(grid, at, over, area)
    return found


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _cell(value: float, least: float, cells: int) -> int:
    """Place on a logarithmic scale; the last one is open."""
    return min(cells - 1, max(0, int(np.log2(value / least) * PER_OCTAVE)))


@njit(cache=True, nogil=True, error_model="numpy", inline="always")
def _draw(
    time: float,
    energy: float,
    area: float,
    power: float,
    pes: int,
    scalar: Floats,
    by_area: Floats,
    by_power: Floats,
    by_energy: Integers,
) -> None:
    """Add a design to the pictures."""
    share = scalar[MACS] / time / scalar[MOST_THROUGHPUT]
    row = min(THROUGHPUT_BINS - 1, int(share * THROUGHPUT_BINS))
    column = min(AREA_BINS - 1, int(area / scalar[AREA_LIMIT] * AREA_BINS))
    by_area[0, row, column] += 1
    by_area[1, row, column] += power
    column = min(POWER_BINS - 1, int(power / scalar[POWER_LIMIT] * POWER_BINS))
    by_power[0, row, column] += 1
    by_power[1, row, column] += pes
    octaves = np.log2(energy / scalar[LEAST_ENERGY])
    column = min(ENERGY_BINS - 1, int(octaves / ENERGY_OCTAVES * ENERGY_BINS))
    by_energy[row, column] += 1


@njit(cache=True, nogil=True, error_model="numpy")
def _mark(grid: Floats, at: int, over: int, area: float) -> None:
    """Note a candidate in all cells whose designs have more cycles and more energy."""
    for row in range(at + 1, GRID_CYCLES):
        if over + 1 >= GRID_ENERGY or grid[row, over + 1] <= area:
            return
        for column in range(over + 1, GRID_ENERGY):
            if grid[row, column] <= area:
                break
            grid[row, column] = area
