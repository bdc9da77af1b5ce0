"""What every capability stands on: one road (execute), one error tree, one engine factory, one chain."""
