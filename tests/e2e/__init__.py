"""The whole product on one host: real zone, real agents, real Envoys, real applications."""
