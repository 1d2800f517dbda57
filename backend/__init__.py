"""Everything between the store and the user: services, queue, supervisor, the embedded stack and the command line."""
