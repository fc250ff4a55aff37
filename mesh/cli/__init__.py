"""The command ``mesh``: one thin module per command.

``main`` knows the commands' names and imports one only to run it.  A command parses, asks a
client, hands the answer to a pure function that makes rows or a document of it, and prints.
"""
