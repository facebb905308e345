"""The empirical neural tangent kernel, exactly, of any network that torch runs.

| module | what it does |
|---|---|
| `marks` | notes on a tensor what it depends on |
| `sites` | the shapes of the places where weights meet data |
| `operations` | how torch's operations use parameters |
| `capture` | a batch through the model: activations and output gradients |
| `audit` | proof on two samples that nothing was missed or misread |
| `passes` | a checked network and its images, a batch at a time |
| `rules` | the exact ways to a weight's kernel, and their cost |
| `factors` | what is stored of a block of samples, and a tile from two |
| `gram` | tiles under a memory budget |
| `plan` | what they will cost |
| `sketch` | gradients projected at random, where samples are too many for tiles |
"""

from rmtgen.kernels.entk.kernel import Entk, entk_gram
from rmtgen.kernels.entk.passes import Joined
from rmtgen.kernels.entk.plan import Plan, entk_plan
from rmtgen.kernels.entk.sketch import Sketch, entk_features, sketch_error

__all__ = [
    "Entk",
    "Joined",
    "Plan",
    "Sketch",
    "entk_features",
    "entk_gram",
    "entk_plan",
    "sketch_error",
]
