"""Several zones at once: each a real Consul datacenter in a network of its own.

``network`` makes the networks and the links between them (``namespaces`` has the tools, ``wire``
is what makes a link slow), ``consul`` a federated server, ``bed`` the whole; ``application`` is
what is called there, and ``load`` calls and counts.
"""
