"""Every table of the product, for migrations and for the test that compares both."""

from sqlmodel import SQLModel

import blaidctl.access.tables
import blaidctl.accounts.tables
import blaidctl.allocation.tables
import blaidctl.backtests.tables
import blaidctl.core.tables
import blaidctl.fleet.tables
import blaidctl.instruments.tables
import blaidctl.jobs.tables
import blaidctl.kill.tables
import blaidctl.ledger.tables
import blaidctl.providers.tables  # noqa: F401 - importing registers the tables

metadata = SQLModel.metadata
