"""The exact empirical neural tangent kernel of any network that torch runs.

| module | content |
|---|---|
| `dependence` | marks on a tensor: does it depend on parameters alone, or on the images |
| `network` | the network of a kernel: its type, its copy, and the outputs that have a kernel |
| `sites` | the shapes of the places where a weight meets data |
| `forming` | the gradients of single samples at a site, formed in the quickest way |
| `operations` | how a call of torch uses parameters |
| `layers` | the operations of linear layers, convolutions and normalisations; their registry |
| `generic` | the operation of every other call, by torch.func |
| `trust` | whether what is proven for two samples holds in every batch |
| `alone` | gradients by plain autograd, sample by sample |
| `tracer` | the operations of a forward pass |
| `gradients` | the per-sample gradients of a batch |
| `capture` | the function from a batch to its gradients |
| `audit` | a check of these gradients against autograd, on two samples |
| `passes` | a checked network and its images |
| `rules` | the exact ways to compute the kernel of one weight, and their cost |
| `splits` | float32 numbers as pairs of float16 halves; products of tensor cores, emulated |
| `tensor_cores` | the same on the tensor cores of a CUDA device, in Triton |
| `split_rules` | the rules of a weight in that arithmetic |
| `precision` | how numbers are multiplied, by name |
| `factors` | the stored gradients of a block of samples, and a tile from two blocks |
| `tiles` | the order of the tiles, and a cache of blocks |
| `parts` | how a kernel is split by names or outputs |
| `chunks` | the parameters of a kernel in chunks, and their sum |
| `kernel` | the kernel, tile by tile under a memory budget |
| `plan` | the cost of a kernel before it is computed |
| `sketch` | random projections of gradients, for more samples than tiles allow |
"""

from rmtgen.kernels.entk.kernel import Entk, entk_gram
from rmtgen.kernels.entk.plan import Plan, entk_plan
from rmtgen.kernels.entk.sketch import Sketch, entk_features, sketch_error

__all__ = [
    "Entk",
    "Plan",
    "Sketch",
    "entk_features",
    "entk_gram",
    "entk_plan",
    "sketch_error",
]
