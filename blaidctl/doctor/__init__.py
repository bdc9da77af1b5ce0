"""Is this installation fit to stop a fleet? Looks at the host, the database and the desk, and changes nothing."""
