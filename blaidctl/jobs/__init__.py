"""Jobs: types under limits, runs under supervision, and the reaper that ends what nobody ends."""
