"""What a daemon needs that knows nothing of meshes: tasks, backoff, time, a log, a health port."""
