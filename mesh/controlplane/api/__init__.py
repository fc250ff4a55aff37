"""The zone's HTTPS API: enrolment, registration, administration.

A route (``route``) says who may call it, what it reads and what it answers; the resource modules
each return theirs; ``app`` puts them behind one pipeline (who calls, what is asked, the handler,
errors in one shape), and the OpenAPI document is written from the same routes.
"""
