"""Consul as a source of changes.

``watch`` has the source; ``loop`` one blocking query; ``services`` the instances of what is
needed.  They ask; ``knowledge`` understands and emits, with one module per kind of thing
(``instances``, ``entries``, ``jwt``, ``vips``, ``policies``, ``rollouts``).  ``guard`` and
``witness`` keep a sudden emptiness from being taken for a deletion; ``problems`` holds what is
malformed.
"""

from mesh.sources.consul.guard import Rules
from mesh.sources.consul.loop import WatchStatus
from mesh.sources.consul.problems import Problem, Problems
from mesh.sources.consul.settings import WatchSettings
from mesh.sources.consul.watch import ConsulSource

__all__ = ["ConsulSource", "Problem", "Problems", "Rules", "WatchSettings", "WatchStatus"]
