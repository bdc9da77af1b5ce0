"""blaidctl: the risk desk's command line for a fleet of trading bots.

Kill, resurrect, guard and supervise bots; every act is one audited, hash-chained row.
"""

__version__ = "0.1.0"
