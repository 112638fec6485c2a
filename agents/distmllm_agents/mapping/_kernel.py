"""The inner loops of :mod:`.search`: plain loops on arrays, compiled by numba."""

from __future__ import annotations

import numpy as np
from numba import njit

OUT = -1


@njit(cache=True)
def dual(u, w, cap, price, low, steps):  # type: ignore[no-untyped-def]
    """Lower the Lagrangian bound by projected subgradient steps with Polyak's step length.

    The bound of prices p >= 0 of capacity is sum_n p_n C_n + sum_k max(0, max_n u_kn - p_n w_kn).
    ``low`` is the value of a known solution.

    Returns:
        The best bound and its prices.
    """
    items, bins = u.shape
    best_bound = np.inf
    best_price = price.copy()
    used = np.zeros(bins)
    scale, stalled = 1.0, 0
    for _ in range(steps):
        bound = 0.0
        for n in range(bins):
            bound += price[n] * cap[n]
            used[n] = 0.0
        for k in range(items):
            top, at = 0.0, OUT
            for n in range(bins):
                r = u[k, n] - price[n] * w[k, n]
                if r > top:
                    top, at = r, n
            bound += top
            if at != OUT:
                used[at] += w[k, at]
        if bound < best_bound - 1e-12:
            best_bound = bound
            best_price[:] = price
            stalled = 0
        else:
            stalled += 1
            if stalled == 4:
                scale, stalled = scale * 0.5, 0
        if best_bound - low <= 1e-10 * max(1.0, abs(best_bound)):
            break
        norm = 0.0
        for n in range(bins):
            slack = cap[n] - used[n]
            if slack < 0 or price[n] > 0:
                norm += slack * slack
        if norm == 0.0:
            break
        step = scale * (bound - low) / norm
        for n in range(bins):
            price[n] = max(0.0, price[n] - step * (cap[n] - used[n]))
    return best_bound, best_price


@njit(cache=True)
def fill(u, w, cap, price, choice, room):  # type: ignore[no-untyped-def]
    """Place what is out, largest reduced profit first, where it fits and earns."""
    items, bins = u.shape
    while True:
        top, item, at = 0.0, OUT, OUT
        for k in range(items):
            if choice[k] == OUT:
                for n in range(bins):
                    if u[k, n] > 0 and w[k, n] <= room[n]:
                        r = u[k, n] - price[n] * w[k, n] + 1e6
                        if r > top:
                            top, item, at = r, k, n
        if item == OUT:
            return
        choice[item] = at
        room[at] -= w[item, at]


@njit(cache=True)
def improve(u, w, choice, room):  # type: ignore[no-untyped-def]
    """Local search: shift an item, swap two, let one in for another, while any of these gains."""
    items, bins = u.shape
    gained = True
    while gained:
        gained = False
        for k in range(items):
            a = choice[k]
            now = u[k, a] if a != OUT else 0.0
            for n in range(bins):
                if n != a and w[k, n] <= room[n] and u[k, n] > now + 1e-12:
                    if a != OUT:
                        room[a] += w[k, a]
                    room[n] -= w[k, n]
                    choice[k] = n
                    a, now, gained = n, u[k, n], True
        for k in range(items):
            for j in range(k + 1, items):
                a, b = choice[k], choice[j]
                if a == b:
                    continue
                now = (u[k, a] if a != OUT else 0.0) + (u[j, b] if b != OUT else 0.0)
                then = (u[k, b] if b != OUT else 0.0) + (u[j, a] if a != OUT else 0.0)
                if then <= now + 1e-12:
                    continue
                if a != OUT and w[j, a] > room[a] + w[k, a]:
                    continue
                if b != OUT and w[k, b] > room[b] + w[j, b]:
                    continue
                if a != OUT:
                    room[a] += w[k, a] - w[j, a]
                if b != OUT:
                    room[b] += w[j, b] - w[k, b]
                choice[k], choice[j] = b, a
                gained = True
    total = 0.0
    for k in range(items):
        if choice[k] != OUT:
            total += u[k, choice[k]]
    return total


@njit(cache=True)
def labels(u, w, cap, price, low, cost, code, parent, option):  # type: ignore[no-untyped-def]
    """Find a mapping worth more than ``low``, or prove that there is none.

    With prices p, a mapping is worth the bound less what each item forgoes against its best choice,
    less p_n times what stays empty on n. So only choices that forgo less than the gap can matter;
    items with one such choice are fixed. The rest are placed item by item; partial mappings that
    leave the same room are equal but for what they forgo, and the best of them is kept.

    Returns:
        Status (1 improved, 0 proven, -1 gave up), value, choice, labels made.
    """
    items, bins = u.shape
    choice = np.full(items, OUT, np.int64)
    price = price.copy()
    room = cap.copy()
    forgo = np.empty((items, bins + 1))
    open_ = np.ones(items, np.bool_)
    live = np.zeros((items, bins + 1), np.bool_)
    fixed_value = 0.0
    bound = 0.0
    changed = True
    while changed:
        changed = False
        bound = fixed_value
        for n in range(bins):
            bound += price[n] * room[n]
        for k in range(items):
            if open_[k]:
                top = 0.0
                for n in range(bins):
                    r = u[k, n] - price[n] * w[k, n] if w[k, n] <= room[n] else -np.inf
                    forgo[k, n] = r
                    top = max(top, r)
                forgo[k, bins] = 0.0
                for n in range(bins + 1):
                    forgo[k, n] = top - forgo[k, n]
                bound += top
        gap = bound - low - 1e-9 * max(1.0, abs(bound))
        if gap <= 0.0:
            return 0, low, choice, 0
        wanted = np.zeros(bins, np.int64)
        for k in range(items):
            if not open_[k]:
                continue
            count, at = 0, 0
            for n in range(bins + 1):
                live[k, n] = forgo[k, n] < gap
                if live[k, n]:
                    count += 1
                    at = n
            if count == 0:
                return 0, low, choice, 0
            if count == 1:
                open_[k] = False
                changed = True
                if at < bins:
                    choice[k] = at
                    room[at] -= w[k, at]
                    fixed_value += u[k, at]
                    if room[at] < 0:
                        return 0, low, choice, 0
            else:
                for n in range(bins):
                    if live[k, n]:
                        wanted[n] += w[k, n]
        for n in range(bins):
            if price[n] > 0.0 and wanted[n] <= room[n]:
                price[n] = 0.0  # it cannot fill up any more, so its room is worth nothing
                changed = True

    # Order: again and again the worker with the fewest open items, so that workers close early and
    # drop out of the state.
    order = np.empty(items, np.int64)
    left = np.zeros(bins, np.int64)
    total = 0
    for k in range(items):
        if open_[k]:
            total += 1
            for n in range(bins):
                if live[k, n]:
                    left[n] += 1
    waiting = open_.copy()
    placed = 0
    while placed < total:
        best, fewest = -1, 1 << 30
        for n in range(bins):
            if 0 < left[n] < fewest:
                best, fewest = n, left[n]
        for k in range(items):
            if waiting[k] and (best == -1 or live[k, best]):
                order[placed] = k
                placed += 1
                waiting[k] = False
                for n in range(bins):
                    if live[k, n]:
                        left[n] -= 1
    last = np.full(bins, -1, np.int64)
    for i in range(total):
        for n in range(bins):
            if live[order[i], n]:
                last[n] = i

    # A state is the room used on workers that may fill up, packed into two words.
    word = np.full(bins, -1, np.int64)
    shift = np.zeros(bins, np.int64)
    mask = np.zeros(bins, np.int64)
    free = np.zeros(2, np.int64)
    for n in range(bins):
        if last[n] >= 0 and wanted[n] > room[n]:
            bits = 1
            while (1 << bits) <= room[n]:
                bits += 1
            at = 0 if free[0] + bits <= 62 else 1
            if free[at] + bits > 62:
                return -1, low, choice, 0
            word[n], shift[n], mask[n] = at, free[at], (1 << bits) - 1
            free[at] += bits

    limit = len(cost)
    begin = np.zeros(total + 2, np.int64)
    cost[0] = 0.0
    code[0, 0] = 0
    code[0, 1] = 0
    begin[1] = 1
    made = 1
    size = 1024
    table = np.full(size, -1, np.int64)
    for i in range(total):
        k = order[i]
        first, stop = begin[i], begin[i + 1]
        while size < 4 * (stop - first):
            size *= 2
        if table.size < size:
            table = np.full(size, -1, np.int64)
        else:
            table[:] = -1
        for label in range(first, stop):
            for n in range(bins + 1):
                if not live[k, n]:
                    continue
                c = cost[label] + forgo[k, n]
                if c >= gap:
                    continue
                c0, c1 = code[label, 0], code[label, 1]
                if n < bins and word[n] >= 0:
                    held = (c0 if word[n] == 0 else c1) >> shift[n] & mask[n]
                    if held + w[k, n] > room[n]:
                        continue
                    if word[n] == 0:
                        c0 += w[k, n] << shift[n]
                    else:
                        c1 += w[k, n] << shift[n]
                for b in range(bins):  # workers that no later item can go to are closed
                    if last[b] == i and word[b] >= 0:
                        field = c0 if word[b] == 0 else c1
                        held = field >> shift[b] & mask[b]
                        c += price[b] * (room[b] - held)
                        if word[b] == 0:
                            c0 -= held << shift[b]
                        else:
                            c1 -= held << shift[b]
                if c >= gap:
                    continue
                h = (c0 * 0x1E3779B97F4A7C15 ^ c1 * 0x42B2AE3D27D4EB4F) & 0x7FFFFFFFFFFFFFFF
                slot = (h ^ (h >> 29)) % table.size
                while True:
                    other = table[slot]
                    if other == -1:
                        if made == limit:
                            return -1, low, choice, made
                        table[slot] = made
                        cost[made], parent[made], option[made] = c, label, n
                        code[made, 0], code[made, 1] = c0, c1
                        made += 1
                        if 2 * (made - stop) > table.size:  # grow and rehash
                            size = table.size * 4
                            table = np.full(size, -1, np.int64)
                            for j in range(stop, made):
                                hj = (
                                    code[j, 0] * 0x1E3779B97F4A7C15
                                    ^ code[j, 1] * 0x42B2AE3D27D4EB4F
                                ) & 0x7FFFFFFFFFFFFFFF
                                sj = (hj ^ (hj >> 29)) % size
                                while table[sj] != -1:
                                    sj = (sj + 1) % size
                                table[sj] = j
                        break
                    if code[other, 0] == c0 and code[other, 1] == c1:
                        if c < cost[other]:
                            cost[other], parent[other], option[other] = c, label, n
                        break
                    slot = (slot + 1) % table.size
        begin[i + 2] = made
    best = -1
    for label in range(begin[total], begin[total + 1]):
        if best == -1 or cost[label] < cost[best]:
            best = label
    if best == -1:
        return 0, low, choice, made
    label = best
    for i in range(total - 1, -1, -1):
        n = option[label]
        choice[order[i]] = n if n < bins else OUT
        label = parent[label]
    return 1, bound - cost[best], choice, made


@njit(cache=True)
def search(u, w, cap, price, choice, steps, limit):  # type: ignore[no-untyped-def]
    """Solve to the optimum, starting from prices and a feasible (maybe empty) choice.

    The labels are asked for a mapping within a small distance of the bound; if there is none, the
    distance grows, until one is found or the known solution is within it. So the work hangs on the
    true distance of bound and optimum, not on how good the first solution is.

    Returns:
        Whether it is proven, value, bound, choice, labels made, prices.
    """
    items = len(u)
    room = cap.copy()
    for k in range(items):
        if choice[k] != OUT:
            room[choice[k]] -= w[k, choice[k]]
    fill(u, w, cap, price, choice, room)
    low = improve(u, w, choice, room)
    bound, price = dual(u, w, cap, price, low, steps)
    other = np.full(items, OUT, np.int64)
    room = cap.copy()
    fill(u, w, cap, price, other, room)
    value = improve(u, w, other, room)
    if value > low:
        low, choice = value, other
    cost = np.empty(limit)
    code = np.empty((limit, 2), np.int64)
    parent = np.empty(limit, np.int64)
    option = np.empty(limit, np.int16)
    made = 0
    ceiling = bound
    reach = max((bound - low) / 32, 1e-4 * max(1.0, abs(bound)))
    while True:
        target = max(low, bound - reach)
        status, value, found, count = labels(u, w, cap, price, target, cost, code, parent, option)
        made += count
        if status == 1:
            return True, value, value, found, made, price
        if status == -1:
            return False, low, ceiling, choice, made, price
        if target <= low:
            return True, low, low, choice, made, price
        ceiling = target  # nothing is worth more, but for what is known
        reach *= 2.5
