"""Files of containers and other strangers: whose, which is really mapped, how opened."""
