"""Incremental ADS: what each proxy is told, and the connection that carries it.

``session`` and ``subscription`` decide what one stream sends next and know no socket;
``grpc_framing`` and ``tls`` turn messages into bytes and know none either; ``transport`` joins
them on an asyncio connection, ``call`` is one proxy's stream, and ``server`` holds them all.
"""
