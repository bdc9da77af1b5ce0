"""The fleet: users, bots, running instances, and the supervisor of a real process."""
