"""Traffic capture: connections of applications that know nothing of the mesh, sent to its proxies.

:mod:`~mesh.capture.plan` says from the settings what is captured, :mod:`~mesh.capture.table` writes
it as one nftables table, and :mod:`~mesh.capture.verdict` says what that table does with a packet;
all three are pure.  The rest carries it out: it loads the table, guards it until the operator is
known to be able to come back, and looks at what is loaded.
"""
