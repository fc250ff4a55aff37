"""One mesh of many zones: what this one publishes, and what it comes to know of the others.

Each zone's leader publishes the zone's document in its own Consul (``publishing``), reads those of
the other datacenters (``following``), and keeps what it believes of them (``belief``) in its own
KV store, from where every instance of the zone has it.
"""
