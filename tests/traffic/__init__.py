"""What the mesh does to calls, proven on requests through real Envoys."""
