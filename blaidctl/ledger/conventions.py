"""The conventions that every number of the ledger stands under: two honest answers differ by nothing else."""

from __future__ import annotations

from blaidctl.ledger.vocabulary import Basis, LotMethod

_LOTS = {
    LotMethod.FIFO: "FIFO: a closing fill closes the oldest open lot first",
    LotMethod.AVERAGE: (
        "AVERAGE: a closing fill closes a part of the whole position; its cost is rounded down to 10^-36 of the quote"
        " currency, the remainder stays in the position"
    ),
}
_BASES = {
    Basis.REALIZED: "REALIZED: results count when a lot closes; open positions count nothing",
    Basis.MARKED: (
        "MARKED: looked at once a UTC day, at its end (as_of at midnight is the end of the day before), every open"
        " position at that day's last mark, on a day without trading at that of the last day with trading"
    ),
}
_WHOLE_ACCOUNT = "every fill of the bot on the account, and the fees of the account"
_ONE_INSTANCE = "the fills of instance {0} alone; lots of other instances and fees of the account are not among them"


def stamp(lot_method: LotMethod, basis: Basis, currency: str, instance: int | None = None) -> dict[str, str]:
    """Return what every number is to be read with: name of the convention → the rule in words."""
    return {
        "scope": _WHOLE_ACCOUNT if instance is None else _ONE_INSTANCE.format(instance),
        "lot_method": _LOTS[lot_method],
        "order": "fills by (executed_at, venue_trade_id); the flows of a moment before its fills",
        "equity_basis": _BASES[basis],
        "first_peak": "the starting capital (the INITIAL flow)",
        "drawdown": "from the last moment at the peak until equity is back there; of equal ones the earliest",
        "flows": "a deposit or withdrawal moves equity and peak alike; a fee of the account moves equity alone",
        "fees": "booked when paid; a rebate is a negative fee",
        "closed_trade": "one instrument's position from flat to flat; won or lost by its net, fees included",
        "flip": "a fill that turns the position closes one trade, which bears its fee, and opens the next",
        "fx": f"into {currency} at the last rate recorded on the UTC day of the event, as written, never inverted",
        "exposure": "time with an open position, of the time from the starting capital to as_of",
        "return_on_capital": "net / (starting capital + deposits)",
        "reversals": "a reversed fill and its reversal are both left out",
        "rounding": "money is exact; ratios are rounded once, half to even, to 12 places",
        "time_zone": "UTC",
    }
