"""The checks of ``mesh check``: one small class each, one file each.

``model`` says what a check is and what it finds, ``runner`` runs sections of them, ``catalogue``
makes the list.  A check raises nothing that was foreseen: what a client says went wrong is a
finding with its remedy.
"""
