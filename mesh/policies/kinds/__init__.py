"""The kinds of policies: a module each, or a package where one has much to say.

They ignore one another; ``policies.registry`` has them all.
"""
