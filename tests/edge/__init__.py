"""The edge of the mesh on real requests: real Consul, real OpenBao, real Envoys."""
