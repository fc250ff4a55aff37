"""What the bench ``zones`` measures, a module for each group of figures."""
