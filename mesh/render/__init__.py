"""From the world and a proxy's need to Envoy resources: pure, memoised, shared.

``plan`` decides which parts a proxy has, ``parts`` is what a part is, ``inbound``, ``outbound``
and ``capture`` hold the parts, ``shelf`` keeps them rendered, ``assembly`` makes snapshots of
them, and ``renderer`` says what a change reaches.  ``way`` follows one call for people.
"""
