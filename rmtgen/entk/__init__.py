"""The empirical neural tangent kernel, exactly, of any network that torch runs.

`marks` notes what a tensor depends on, `sites` describes where weights meet data, `operations` how torch's operations use parameters, `capture`
takes a batch through the model, `audit` proves it, `rules` are the ways to a weight's kernel, `factors` what is stored, `gram` the tiles.
"""

from rmtgen.entk.gram import Entk, entk_gram

__all__ = ["Entk", "entk_gram"]
