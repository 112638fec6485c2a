"""The paper's claims, in our words, and which of them exclude each other."""

from __future__ import annotations

from dataclasses import dataclass, field

ORDER = frozenset[tuple[str, str]]


@dataclass(frozen=True)
class Claim:
    """One sentence of the paper that can be checked.

    Attributes:
        id: Short name.
        where: Where the paper says it.
        text: What it says.
        ranks: ``(what, when)`` of a claim that ranks policies, e.g. ``("LLM regret", "end")``.
        above: The pairs (higher, lower) that it asserts.
    """

    id: str
    where: str
    text: str
    ranks: tuple[str, str] | None = None
    above: ORDER = field(default=frozenset())


def _ranking(*policies: str) -> ORDER:
    """All pairs of a full order, highest first."""
    return frozenset((a, b) for i, a in enumerate(policies) for b in policies[i + 1 :])


CLAIMS = (
    Claim("1a", "Fig. 1a", "The RTX 4090 is the fastest at LLaMA 7B, 13B and 70B; the Orin Nano cannot run 13B and 70B."),
    Claim("1b", "Fig. 1b", "The RTX 4090 is the fastest at FLAVA, ViT-B/16 and CLIP ViT-B/32; both Orins stay within 1 s."),
    Claim("3a", "Fig. 3a", "Encoder outputs are much smaller than a 5.4 MB PNG; those of EfficientNet and ResNet50 more than ten times."),
    Claim("3b", "Fig. 3b", "LLaVA-1.5-7B: on an AGX Orin the LLM takes most of the time; on a remote A100 the LLM is quick and moving the raw input takes most."),
    Claim("4a-early", "Fig. 4a", "In about the first 100 slots HEU has the highest LLM profit.",
          ("LLM profit", "early"), frozenset({("heu", "distmllm"), ("heu", "ucb")})),
    Claim("4a-final", "Fig. 4a", "At the end, LLM profit: DistMLLM > HEU > UCB.",
          ("LLM profit", "end"), _ranking("distmllm", "heu", "ucb")),
    Claim("4b-always", "Fig. 4b", "DistMLLM has the highest ENC profit at all times.",
          ("ENC profit", "always"), frozenset({("distmllm", "ucb"), ("distmllm", "heu")})),
    Claim("4b-final", "Fig. 4b", "At the end, ENC profit: DistMLLM > UCB > HEU; UCB keeps rising, HEU is flat.",
          ("ENC profit", "end"), _ranking("distmllm", "ucb", "heu")),
    Claim("4c-final", "Fig. 4c", "At the end, LLM regret: HEU > UCB > DistMLLM.",
          ("LLM regret", "end"), _ranking("heu", "ucb", "distmllm")),
    Claim("4c-early", "Fig. 4c", "Until about slot 400, DistMLLM's LLM regret is slightly above UCB's.",
          ("LLM regret", "early"), frozenset({("distmllm", "ucb")})),
    Claim("4d-final", "Fig. 4d", "At the end, ENC regret: HEU > UCB > DistMLLM.",
          ("ENC regret", "end"), _ranking("heu", "ucb", "distmllm")),
    Claim("4d-early", "Fig. 4d", "Early on, UCB's ENC regret is slightly below DistMLLM's.",
          ("ENC regret", "early"), frozenset({("distmllm", "ucb")})),
    Claim("5-settle", "Fig. 5", "A provider's profit fluctuates while DistMLLM explores, then settles."),
    Claim("5-spread", "Fig. 5", "Providers differ little in ENC profit and more in LLM profit."),
    Claim("6a", "Fig. 6a", "On five workers, DistMLLM earns more than UCB for 5 to 10 providers."),
    Claim("6b-above", "Fig. 6b", "With ten providers, DistMLLM earns more than UCB on 5, 10, 20 and 30 workers."),
    Claim("6b-peak", "Fig. 6b", "Profit peaks at about 10 workers and then falls slightly, for both."),
    Claim("6b-gain", "Fig. 6b", "From 5 to 10 workers DistMLLM gains more than UCB."),
    Claim("7a-fall", "Fig. 7a", "Profit falls as moving tensors gets dearer, for both."),
    Claim("7a-slope", "Fig. 7a", "DistMLLM's profit falls more slowly than UCB's and stays above it."),
    Claim("7b", "Fig. 7b", "After exploration DistMLLM earns more than its monolithic version, which is steady from early on."),
    Claim("lemma-1", "Sec. 2.4", "Hoeffding: after tau samples an estimate errs by more than eps with probability at most 2 exp(-2 tau eps^2 / R^2), any of all pairs 2MN times that."),
    Claim("lemma-2", "Sec. 2.4", "If every estimate is within gap / (2B) of the truth, the mapping found is the true optimum's."),
    Claim("lemma-3", "Sec. 2.4", "Branch and bound run to the end is optimal; stopped early it gives a feasible value and an upper bound."),
    Claim("theorem-1", "Sec. 2.4", "The regret of each stage grows like log T, within the bound printed there."),
)  # fmt: skip


def contradictions(claims: tuple[Claim, ...] = CLAIMS) -> dict[str, str]:
    """Find the regret claims that a profit claim excludes.

    For one set of runs and one optimum, regret after t slots is R = t V* - t (average profit), so
    R_a - R_b = -t (profit_a - profit_b): who earns more has the lower regret, at every t. A claim
    that puts a above b in profit and one that puts a above b in regret, of the same stage at the
    same time, cannot both be true.

    Returns:
        Id of a regret claim -> id of the profit claim that excludes it.
    """
    found = {}
    for regret in claims:
        if regret.ranks is None or not regret.ranks[0].endswith("regret"):
            continue
        for profit in claims:
            if profit.ranks is None or not profit.ranks[0].endswith("profit"):
                continue
            same_stage = profit.ranks[0].split()[0] == regret.ranks[0].split()[0]
            same_time = profit.ranks[1] in (regret.ranks[1], "always")
            if same_stage and same_time and profit.above & regret.above:
                found[regret.id] = profit.id
    return found
