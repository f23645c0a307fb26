"""How well segments are found, proven, kept and described, beside scikit-learn as it comes.

Every table is labelled, structureless or real; k, eps and seeds are never told. Seeds are fixed.
`python -m benchmarks.clustering` prints the figures; each module measures one subject.
"""
