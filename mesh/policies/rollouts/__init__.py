"""How a MeshRollout goes on: figures in, the next state out.  Pure.

``figures`` counts calls, ``gates`` judges them, ``state`` is where a rollout stands and how that
is written down, ``progress`` moves it on, and ``wishes`` does what a person asks for.
"""
