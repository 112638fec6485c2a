"""Testbed worlds: latency and energy from measured device, model and link profiles.

ENC on worker n: upload of the input + encode. LLM on worker n: upload of the encoder's tensor +
prefill + decode. As in Figure 2 of the paper the tensor returns to the provider, who forwards it,
so the LLM stage pays for its upload wherever the encoder ran. Derating a worker by p stretches its
compute time by 1 / p and lowers its energy by p^2, as beta and alpha do in equations (1) and (2);
the energy of the link is not the worker's and is not charged.
"""

from __future__ import annotations

import numpy as np

from distmllm_env.devices import find_device, links, models
from distmllm_env.equations import Array
from distmllm_env.errors import unknown_name
from distmllm_env.scenario import ENC, LLM, Scenario, Testbed

REFERENCE_LLM = "llama-2-7b-q4"
"""The model whose decode rate ranks the devices: the one that all shipped devices can run."""


def testbed_tables(scenario: Scenario, draw: dict[str, Array]) -> tuple[Array, Array, Array]:
    """Fill latency, energy and relative performance from the profiles.

    Args:
        scenario: One with a testbed.
        draw: Drawn quantities; ``demand``, ``capacity``, ``data_bytes``, ``tensor_bytes`` and
            ``value`` are added to it from the apps and workers.

    Returns:
        Latency in seconds and energy in joules, each (B, S, M, N) with infinity where a device
        cannot run a model; and performance (B, N), the decode rate of :data:`REFERENCE_LLM`
        relative to the fastest worker, after derating.

    Raises:
        ValueError: A device, link or model name is not known.
    """
    bed = scenario.testbed
    assert bed is not None
    _check_names(bed)
    batch, n = draw["performance"].shape
    apps = [bed.apps[i % len(bed.apps)] for i in range(scenario.providers)]
    workers = [bed.workers[i % len(bed.workers)] for i in range(n)]
    shape = (batch, len(apps))
    for key, values in {
        "demand": [app.demand for app in apps],
        "capacity": [worker.capacity for worker in workers],
    }.items():
        draw[key] = np.broadcast_to(np.array(values, float), (batch, len(values))).copy()
    draw["data_bytes"] = np.array([app.input_bytes for app in apps]) * draw["data_scale"]
    tensor = [models()[app.encoder].number("tensor_bytes").value for app in apps]
    draw["tensor_bytes"] = np.broadcast_to(np.array(tensor), shape).copy()
    value = np.array([[app.value_enc for app in apps], [app.value_llm for app in apps]])
    draw["value"] = np.broadcast_to(value, (batch, *value.shape)).copy()

    latency = np.full((batch, 2, len(apps), n), np.inf)
    energy = np.full((batch, 2, len(apps), n), np.inf)
    rate = np.array([links()[worker.link].rate_bit_s.value for worker in workers])
    for w, worker in enumerate(workers):
        device, p = find_device(worker.device), draw["performance"][:, w]
        for m, app in enumerate(apps):
            if device.why_infeasible(app.encoder) is None:
                upload = 8.0 * draw["data_bytes"][:, m] / rate[w]
                latency[:, ENC, m, w] = upload + device.encode_time_s(app.encoder) / p
                energy[:, ENC, m, w] = device.encode_energy_j(app.encoder) * p**2
            if device.why_infeasible(app.llm) is None:
                upload = 8.0 * draw["tensor_bytes"][:, m] / rate[w]
                tokens = app.output_tokens * draw["output_scale"][:, m]
                prompt = app.llm, app.prompt_tokens, 0.0
                decode_s = tokens / device.number("decode_rate", app.llm).value
                decode_j = tokens * device.number("decode_energy", app.llm).value
                compute = device.generate_time_s(*prompt) + decode_s
                latency[:, LLM, m, w] = upload + compute / p
                energy[:, LLM, m, w] = (device.generate_energy_j(*prompt) + decode_j) * p**2
    speed = np.array([_reference_rate(worker.device) for worker in workers])
    relative = speed / speed.max() if speed.any() else np.ones(n)  # nobody runs it: p_n alone
    return latency, energy, draw["performance"] * relative


def why_infeasible(scenario: Scenario, stage: int, provider: int, worker: int) -> str | None:
    """Say why a testbed worker cannot run a provider's stage, or None if its device can."""
    bed = scenario.testbed
    if bed is None:
        return None
    app = bed.apps[provider % len(bed.apps)]
    device = find_device(bed.workers[worker % len(bed.workers)].device)
    return device.why_infeasible(app.encoder if stage == ENC else app.llm)


def _reference_rate(device: str) -> float:
    profile = find_device(device)
    if profile.why_infeasible(REFERENCE_LLM) is not None:
        return 0.0
    return profile.number("decode_rate", REFERENCE_LLM).value


def _check_names(bed: Testbed) -> None:
    for i, worker in enumerate(bed.workers):
        try:
            find_device(worker.device)
        except ValueError as error:
            raise ValueError(f"testbed.workers[{i}].device: {error}") from error
        if worker.link not in links():
            raise unknown_name(f"testbed.workers[{i}].link", worker.link, links())
    for i, app in enumerate(bed.apps):
        for key, stage in (("encoder", "enc"), ("llm", "llm")):
            allowed = [name for name, model in models().items() if model.stage == stage]
            if getattr(app, key) not in allowed:
                raise unknown_name(f"testbed.apps[{i}].{key}", getattr(app, key), allowed)
