"""Policies: documents, whom they concern, how several are merged, and what each kind contributes.

``kinds`` has them all; a kind returns its contribution and changes nobody's output, and kinds
ignore one another.  ``intentions`` are Consul's own policies of who may call whom; ``rollouts``
judge how a new version takes over.
"""
