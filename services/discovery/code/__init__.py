"""What the machine code of a file says: where its functions are, and where probes may sit."""
