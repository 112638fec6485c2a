"""The mapping problem: which task runs on which worker, given estimated utilities.

Every task is an item with a weight (its demand), every worker a bin with a capacity, and the
utility of an item depends on the bin: a generalized assignment problem (GAP) in which an item may
stay out.
"""

from distmllm_agents.mapping.batch import solve_batch
from distmllm_agents.mapping.branch_and_bound import solve_branch_and_bound
from distmllm_agents.mapping.exact import solve_exact
from distmllm_agents.mapping.fair import solve_fair
from distmllm_agents.mapping.problem import Mapping, MappingBatch, MappingProblem, Solver
from distmllm_agents.mapping.sequential import solve_sequential
from distmllm_agents.mapping.sequential_batch import solve_sequential_batch

SOLVERS: dict[str, Solver] = {
    "sequential": solve_sequential,
    "exact": solve_exact,
    "branch-and-bound": solve_branch_and_bound,
}
"""Solvers by name: Algorithm 2 as printed, the exact optimum, and a branch and bound to read."""

__all__ = [
    "SOLVERS",
    "Mapping",
    "MappingBatch",
    "MappingProblem",
    "Solver",
    "solve_batch",
    "solve_branch_and_bound",
    "solve_exact",
    "solve_fair",
    "solve_sequential",
    "solve_sequential_batch",
]
