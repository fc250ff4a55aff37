"""Envoy's global rate limit service: many proxies, one count.

A proxy asks before it lets a request pass, and sends the limits along: this service holds
counters and no configuration.  A request is read (:mod:`.requests`), put to the counters
(:mod:`.counting`), which are in memory (:mod:`.memory`) or in Redis (:mod:`.redis_store`), and the
verdicts are written as Envoy expects them (:mod:`.responses`).  :mod:`.service` carries both over
gRPC.  It runs behind its own proxy like any service of the mesh.
"""
