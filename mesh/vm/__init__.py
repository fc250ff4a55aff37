"""One host in the mesh without an inventory: what ``mesh vm`` writes, starts, tells and removes.

The files and units are those that the ansible roles make.  Pure are :mod:`mesh.vm.request`,
:mod:`mesh.vm.documents`, :mod:`mesh.vm.plan`, :mod:`mesh.vm.departure` and :mod:`mesh.vm.report`:
from what is wanted and what is there to the steps, or to a table.  :mod:`mesh.vm.host`,
:mod:`mesh.vm.changes` and :mod:`mesh.vm.systemd` do I/O; :mod:`mesh.vm.joining`,
:mod:`mesh.vm.leaving` and :mod:`mesh.vm.looking` lead from one to the other.
"""
