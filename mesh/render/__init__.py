"""From the world and a proxy's need to Envoy resources: pure, memoised, shared.

``plan`` decides which parts a proxy has, ``parts`` is what a part is, ``inbound`` and
``outbound`` hold the parts, ``renderer`` remembers and says what a change reaches.
"""
