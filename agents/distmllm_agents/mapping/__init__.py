"""The mapping problem: which task runs on which worker, given estimated utilities.

Every task is an item with a weight (its demand), every worker a bin with a capacity, and the
utility of an item depends on the bin: a generalized assignment problem (GAP) in which an item may
stay out.
"""

from distmllm_agents.mapping.exact import solve_exact
from distmllm_agents.mapping.problem import Mapping, MappingProblem
from distmllm_agents.mapping.sequential import solve_sequential

SOLVERS = {"sequential": solve_sequential, "exact": solve_exact}
"""Solvers by name: Algorithm 2 as printed, and the exact optimum."""

__all__ = ["SOLVERS", "Mapping", "MappingProblem", "solve_exact", "solve_sequential"]
