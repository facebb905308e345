"""The empirical neural tangent kernel, exactly, of any network that torch runs.

`marks` notes what a tensor depends on, `sites` describes where weights meet data, `operations` how torch's operations use parameters, `capture`
takes a batch through the model, `audit` proves it, `rules` are the ways to a weight's kernel, `factors` what is stored, `gram` the tiles, `plan` what they
will cost.
"""

from rmtgen.entk.gram import Entk, Joined, entk_gram
from rmtgen.entk.plan import Plan, entk_plan

__all__ = ["Entk", "Joined", "Plan", "entk_gram", "entk_plan"]
