"""Asyncio that knows nothing of meshes: supervised tasks, backoff, a newest-value channel, time."""
