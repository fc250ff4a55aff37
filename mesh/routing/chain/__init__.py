"""Consul's discovery chain, compiled here: what its entries together make of calls to a service.

The entries of many services meet in one chain, in this order:

1. the called service's own *router* lists routes; requests that none of them matches take an
   implicit last one, to the service itself;
2. a route that names a service without a subset passes through that service's *splitter*, and
   so on through the splitters it names, until only resolvers are left; a subset bypasses them;
3. *resolvers* say what each reference ends at.

Everything that a chain touches speaks one protocol; routers and splitters need HTTP.  Nobody
asks Consul for its chains: its answer wakes at every write to any entry, while this is a
pure function whose ``reads`` tell exactly when it must be called again.  That both agree
is held by ``tests/routing/test_chain_oracle.py``, which asks a real Consul.
"""

from mesh.routing.chain.compiler import Chain, check_chains, compile_chain
from mesh.routing.chain.errors import ChainError, Fault
from mesh.routing.chain.resolvers import CONNECT_TIMEOUT, Resolved, resolve

__all__ = [
    "CONNECT_TIMEOUT",
    "Chain",
    "ChainError",
    "Fault",
    "Resolved",
    "check_chains",
    "compile_chain",
    "resolve",
]
