"""The slot and the observations as plain loops on arrays, compiled by numba.

Bit for bit what :mod:`.slot`, :mod:`.luck` and :mod:`.envs.observation` say with NumPy; those are
to be read, these to be fast. One pass over a row keeps all of its numbers in the CPU's cache.
"""

from __future__ import annotations

import numpy as np
from numba import njit

QUIET, FACTORS, TERM = 0, 1, 2
RANDOM, REJECT_ALL, SHARE = 0, 1, 2
AFFINE, DEADLINE, QUADRATIC = 0, 1, 2
DEFERRED, ADMITTED, REJECTED, INFEASIBLE = 0, 1, 2, 3  # as in slot.Status

# What the words of a scenario are called here.
NOISE = {"latency_energy": FACTORS, "reward": TERM}
OVERLOAD = {"random": RANDOM, "reject_all": REJECT_ALL, "share": SHARE}
SHAPE = {"affine": AFFINE, "deadline": DEADLINE, "quadratic": QUADRATIC}

_ONE = np.uint64(1)
_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_C1, _C2 = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
_S27, _S30, _S31 = np.uint64(27), np.uint64(30), np.uint64(31)
_SLOT_BITS = np.uint64(24)
_FEW = 24  # up to so many, the plainest sort is the quickest
_LANE, _LOW = np.uint64(16), np.uint64(0xFFFF)


@njit(cache=True, error_model="numpy", inline="always")
def _bits(key, counter):  # type: ignore[no-untyped-def]
    z = key + (counter + _ONE) * _GAMMA
    z = (z ^ (z >> _S30)) * _C1
    z = (z ^ (z >> _S27)) * _C2
    return z ^ (z >> _S31)


@njit(cache=True, error_model="numpy")
def _drop(  # type: ignore[no-untyped-def]
    b, loads, limit, allocation, demand, admitted, status, slot, key, shift, rule, work
):
    """Settle the overloaded workers of a row, see :func:`.slot._drop`; ``loads`` is what stays."""
    first, after, who, falling = work
    pools, workers = limit.shape[1], limit.shape[2] - 1
    first[:] = -1
    for k in range(allocation.shape[1] * 2):  # one list of tasks per overloaded worker
        m, s = k // 2, k % 2
        pool, n = s if pools == 2 else 0, allocation[b, m, s]
        if admitted[b, m, s] and loads[pool, n] > limit[b, pool, n]:
            after[k], first[pool, n] = first[pool, n], k
    for pool in range(pools):
        for n in range(workers):
            k = first[pool, n]
            if k == -1:
                continue
            count = 0
            while k != -1:
                f = (~_bits(key[b], (slot[b] << _SLOT_BITS) | np.uint64(k))) >> shift
                at = count
                if count < _FEW:  # insertion sort
                    while at > 0 and falling[at - 1] > f:
                        falling[at], who[at] = falling[at - 1], who[at - 1]
                        at -= 1
                falling[at], who[at] = f, k
                count += 1
                k = after[k]
            if count > _FEW:
                who[:count] = who[:count][np.argsort(falling[:count])]
            load, stays = 0.0, 0.0
            for i in range(count):
                m, s = who[i] // 2, who[i] % 2
                load += demand[b, m, s]
                if rule == RANDOM and load <= limit[b, pool, n]:
                    stays = load
                else:
                    admitted[b, m, s] = False
                    status[b, m, s] = REJECTED
            loads[pool, n] = stays


@njit(cache=True, error_model="numpy")
def play(  # type: ignore[no-untyped-def]
    allocation, slot, noise_key, admission_key, pace, work, by_pair, price, runs, everywhere,
    limit, capacity, demand, value, weight, transfer, rules, numbers, effects,
    status, admitted, used, profit, total,
):  # fmt: skip
    """Play one slot; the last five arguments are filled in.

    ``rules``: noise, overload, shape, whether transfer costs, shift of priorities.
    ``numbers``: deadline, curvature, scale and offset of uniform noise.
    """
    batch, providers = allocation.shape[0], allocation.shape[1]
    columns = price.shape[1]
    pools, workers = limit.shape[1], columns - 1
    noise, overload, shape, transfers = rules[0], rules[1], rules[2], rules[3]
    shift = np.uint64(rules[4])
    deadline, curvature, scale, offset = numbers[0], numbers[1], numbers[2], numbers[3]
    uniform = effects.size == 0
    loads = np.empty((pools, columns))
    lanes = np.zeros(4)
    space = (
        np.empty((pools, columns), np.int64),
        np.empty(2 * providers, np.int64),
        np.empty(2 * providers, np.int64),
        np.empty(2 * providers, np.uint64),
    )
    for b in range(batch):
        loads[:] = 0.0
        over = False
        for m in range(providers):
            for s in range(2):
                n = allocation[b, m, s]
                state = DEFERRED
                if n < workers:
                    state = ADMITTED
                    if not everywhere and not runs[((b * providers + m) * 2 + s) * columns + n]:
                        state = INFEASIBLE
                    else:
                        pool = s if pools == 2 else 0
                        loads[pool, n] += demand[b, m, s]
                        over |= loads[pool, n] > limit[b, pool, n]
                status[b, m, s] = state
                admitted[b, m, s] = state == ADMITTED
        if over and overload != SHARE:
            _drop(
                b, loads, limit, allocation, demand, admitted, status, slot, admission_key, shift,
                overload, space,
            )  # fmt: skip
        for m in range(providers):
            if noise != QUIET:
                bits = _bits(noise_key[b], (slot[b] << _SLOT_BITS) | np.uint64(m))
                for lane in range(4):
                    level = np.int64((bits >> (_LANE * np.uint64(lane))) & _LOW)
                    lanes[lane] = level * scale + offset if uniform else effects[level]
            for s in range(2):
                if not admitted[b, m, s]:
                    used[b, m, s, 0] = 0.0
                    used[b, m, s, 1] = 0.0
                    profit[b, m, s] = 0.0
                    continue
                n = allocation[b, m, s]
                if by_pair:
                    at = ((b * providers + m) * 2 + s) * columns + n
                    latency, energy = pace[at, 0], pace[at, 1]
                else:
                    at = (b * 2 + s) * columns + n
                    latency = pace[at, 0] * work[b, m, s, 0]
                    energy = pace[at, 1] * work[b, m, s, 1]
                if noise == FACTORS:
                    latency *= lanes[2 * s]
                    energy *= lanes[2 * s + 1]
                if over and overload == SHARE:
                    pool = s if pools == 2 else 0
                    if loads[pool, n] > limit[b, pool, n]:
                        latency *= loads[pool, n] / capacity[b, pool, n]
                if shape == DEADLINE:
                    cost = weight[s] * max(latency - deadline, 0.0)
                else:
                    cost = weight[s] * latency
                    if shape == QUADRATIC:
                        cost = cost + curvature * latency * latency
                earned = value[b, m, s] - cost - price[b, n] * energy
                if noise == TERM:
                    earned += lanes[2 * s]
                used[b, m, s, 0] = latency
                used[b, m, s, 1] = energy
                profit[b, m, s] = earned
            apart = allocation[b, m, 0] != allocation[b, m, 1]
            if transfers and apart and admitted[b, m, 0] and admitted[b, m, 1]:
                profit[b, m, 1] -= transfer[b, m]
        for n in range(workers):
            total[b, n] = loads[0, n] if pools == 1 else loads[0, n] + loads[1, n]


@njit(cache=True, error_model="numpy")
def central(  # type: ignore[no-untyped-def]
    view, template, played, slots, allocation, load, profit, admitted, capacity, scale, at
):  # fmt: skip
    """Fill ``view`` (B, D).

    ``played``: slots so far, of all rows or of each. ``at``: where last_load, last_choice,
    last_profit and last_admitted begin.
    """
    batch, providers = allocation.shape[0], allocation.shape[1]
    workers = load.shape[1]
    for b in range(batch):
        for k in range(view.shape[1]):
            view[b, k] = template[b, k]
        view[b, 0] = played[b if played.size > 1 else 0] / slots
        for n in range(workers):
            view[b, at[0] + n] = load[b, n] / (load[b, n] + capacity[b, n])
        for m in range(providers):
            for s in range(2):
                k = 2 * m + s
                earned = profit[b, m, s]
                view[b, at[1] + k] = allocation[b, m, s] / workers
                view[b, at[2] + k] = earned / (abs(earned) + scale)
                view[b, at[3] + k] = admitted[b, m, s]


@njit(cache=True, error_model="numpy")
def each(  # type: ignore[no-untyped-def]
    view, template, played, slots, allocation, load, profit, admitted, capacity, scale, at
):  # fmt: skip
    """Fill ``view`` (B, M, D) likewise, every provider's own."""
    batch, providers = allocation.shape[0], allocation.shape[1]
    workers = load.shape[1]
    for b in range(batch):
        for m in range(providers):
            for k in range(view.shape[2]):
                view[b, m, k] = template[b, m, k]
            view[b, m, 0] = played[b if played.size > 1 else 0] / slots
            for s in range(2):
                earned = profit[b, m, s]
                view[b, m, at[1] + s] = allocation[b, m, s] / workers
                view[b, m, at[2] + s] = earned / (abs(earned) + scale)
                view[b, m, at[3] + s] = admitted[b, m, s]
        for n in range(workers):
            share = load[b, n] / (load[b, n] + capacity[b, n])
            for m in range(providers):
                view[b, m, at[0] + n] = share
