"""What every rule is made of: the interface, the registry, the walk over blocks, readouts, export."""
