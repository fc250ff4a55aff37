"""One host in the mesh, by hand."""
