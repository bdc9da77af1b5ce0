"""The reaper: what nobody beats for any more has ended, and what it left on this host is ended too."""
