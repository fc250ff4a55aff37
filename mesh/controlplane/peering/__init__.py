"""Peers: zones of other organisations, with trust domains and Consul servers of their own.

``office`` makes them and ends them, ``tls`` tells apart who asks, ``dialling`` asks the other side
through its gateway, ``following`` keeps what it says.  What is told to each is published beside the
zone's own document (``federation/publishing.py``).
"""
