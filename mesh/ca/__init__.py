"""Who signs the mesh's certificates, and what may be signed.

Three issuers stand behind one protocol (``issuer``): ``vault`` signs with a short-lived
intermediate that Vault signed, ``vault_sign`` has Vault sign each leaf, ``builtin`` keeps a root
on disk for a laptop.  ``csr`` decides what is worth signing, ``join_tokens`` who may ask first,
``tls`` turns credentials into contexts, and ``setup`` prepares a Vault for all of it.
"""
