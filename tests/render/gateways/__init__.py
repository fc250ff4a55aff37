"""What gateways are sent."""
