"""The registry inside the process: Consul's HTTP API for a laptop, without Consul.

A request arrives in ``http``, is decoded (``decode``) and becomes one transaction on the
``store`` by way of ``catalog``, ``kv``, ``sessions``, ``entries`` or ``intentions``, all pure.
``core`` carries what changed to disk (``journal``, ``persistence``) and only then answers and
wakes the blocked queries (``watchers``).  ``checks`` runs the health checks that agents ask
for.  ``server`` puts it on a socket.

Only the subset of the API that the mesh uses is here, in the dialect of Consul 1.9 and later;
the contract suite holds it against a real Consul.
"""
