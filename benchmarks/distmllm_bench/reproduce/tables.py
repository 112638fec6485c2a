"""Tables 1 and 2: devices as the profiles know them, and the paper's symbols in this package."""

from __future__ import annotations

from distmllm_bench.reproduce.drawing import Panel, Row
from distmllm_bench.reproduce.lab import Lab
from distmllm_env.devices import devices

COLUMNS = {
    "GPU cores": ("gpu_cores", 1.0),
    "memory (GiB)": ("memory", 2.0**30),
    "storage": ("storage", 1.0),
    "idle power (W)": ("idle_power", 1.0),
    "load power (W)": ("load_power", 1.0),
}
"""Columns of the paper's Table 1, power in two -> quantity of a profile, and its unit."""
NOTHING = "-"
"""What stands where a profile has no number."""


def panels(lab: Lab, band: str) -> list[Panel]:
    """Return table-1 and table-2. Neither argument changes them."""
    return [
        Panel("table-1", "Devices", _device_rows(), None),
        Panel("table-2", "Notation", _notation_rows(), None),
    ]


def _device_rows() -> list[Row]:
    rows: list[Row] = []
    for device in devices().values():
        numbers = {column: device.numbers.get((q, "")) for column, (q, _) in COLUMNS.items()}
        row: dict[str, object] = {"device": device.name, "title": device.title}
        for column, number in numbers.items():
            row[column] = NOTHING if number is None else number.value / COLUMNS[column][1]
        for column, number in numbers.items():
            for field in ("kind", "conditions", "source"):
                row[f"{column}: {field}"] = NOTHING if number is None else getattr(number, field)
        rows.append(row)
    return rows


NOTATION = (
    # Table 2
    ("M", "Table 2", "service providers", "Scenario.providers", ""),
    ("N", "Table 2", "edge workers", "Scenario.workers", ""),
    ("T", "Table 2", "time slots", "Scenario.slots", ""),
    ("x_m,t", "Table 2", "worker that serves a provider's stage in a slot; N: none",
     "Run.allocation", "(B, T, M, S)"),
    ("l_m,n", "Table 2", "mean latency, s", "World.latency_s", "(B, S, M, N+1)"),
    ("e_m,n", "Table 2", "mean energy, J", "World.energy_j", "(B, S, M, N+1)"),
    ("r_m,n", "Table 2", "mean reward, here called profit", "World.mean_profit", "(B, S, M, N+1)"),
    ("c_m", "Table 2", "demand of one task, units of capacity", "World.demand", "(B, M)"),
    ("C_n", "Table 2", "capacity of a worker; infinite for none", "World.capacity", "(B, N+1)"),
    ("d_m", "Table 2", "size of the input, byte", "World.data_bytes", "(B, M)"),
    ("p_n", "Table 2", "performance of a worker", "World.performance", "(B, N)"),
    # Sections 2.1 to 2.3
    ("psi(d)", "Equation 1", "latency that an input brings, s", "equations.psi", ""),
    ("beta(p)", "Equation 1", "what a worker makes of that latency", "equations.beta", ""),
    ("gamma_enc", "Equation 2", "energy of ENC, J/MB", "Energy.enc_j_per_mb", ""),
    ("gamma_llm", "Equation 2", "energy of LLM, J/MB", "Energy.llm_j_per_mb", ""),
    ("mu", "Equation 2", "energy of either stage, J/MB", "Energy.mu_j_per_mb", ""),
    ("alpha(p)", "Equation 2", "what a worker brings to the energy", "equations.alpha", ""),
    ("V(m)", "Equation 3", "value of a task", "World.value", "(B, S, M)"),
    ("G(l)", "Equation 3", "reward of a latency", "equations.latency_reward", ""),
    ("omega_n", "Equation 3", "price of energy, money/J; 0 for none", "World.price", "(B, N+1)"),
    ("R(T)", "Equation 6", "cumulative regret after T slots", "Scores.regret", "(B,)"),
    ("u_m,n", "Algorithm 1", "estimated reward", "DistMLLM.estimate", "(B, S, M, N)"),
    ("tau", "Algorithm 1", "epoch", "DistMLLM.epoch", "(B,)"),
    ("T_explore", "Algorithm 1", "slots of an exploration phase; None: one covering pass",
     "DistMLLM.explore_slots", ""),
    ("Pi", "Algorithm 2", "worker of each item, -1: none; an item is a stage of a provider",
     "Mapping.choice", "(K,)"),
)  # fmt: skip
"""Symbol, where the paper has it, meaning, name here, shape ("" where it is no array).

B runs side by side, S = 2 stages (ENC, LLM), K = 2 M items.
"""


def _notation_rows() -> list[Row]:
    keys = ("symbol", "where", "meaning", "name", "shape")
    return [dict(zip(keys, entry, strict=True)) for entry in NOTATION]
