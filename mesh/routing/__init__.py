"""How calls travel: the room that composes what Consul's entries, policies and defaults say.

For each upstream of a service there is one chain of Consul's entries (router, splitters,
resolvers).  Routes of policies come before its routes; a setting is the default's until an entry
says otherwise, and the entry's until a policy does.  What comes out is the intermediate form
(``model.traffic``, ``model.inbound``), which the renderer turns into Envoy's resources.  Nothing
here does I/O, and nothing here knows Envoy.
"""
