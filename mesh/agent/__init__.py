"""The proxy's agent: enrols, keeps the identity fresh, registers, and looks after Envoy.

The agent carries no traffic; Envoy does, and goes on without it.  Memory is a budget, so the
agent imports the standard library and little of the mesh: HTTP is :mod:`http.client` in a worker
thread (an asyncio HTTP library would weigh as much as all the rest), keys are made by a
short-lived child (:mod:`mesh.agent.keys`), and settings arrive already validated.

The way of one proxy: :mod:`~mesh.agent.enrolment` gets the identity, :mod:`~mesh.agent.supervisor`
starts Envoy and keeps it running, :mod:`~mesh.agent.registration` tells the registry,
:mod:`~mesh.agent.readiness` tells whoever asks, and :mod:`~mesh.agent.drain` ends it all in order.
"""
