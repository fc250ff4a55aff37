"""HTTP filters of the callee's side, one module for each concern.

Each filter comes in two halves.  The filter itself stands in the connection manager, turned off,
and is fetched by name (extension configuration discovery), so that a change of it disturbs
nobody.  The route table turns it on for the routes that ask for it and tells it what holds
there: a request on any other route does not pay for it.  ``inbound_http`` puts both together.
"""
