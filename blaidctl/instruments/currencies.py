"""Which currencies are known: those of ISO 4217, and those that were declared."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from blaidctl.core import errors
from blaidctl.fleet.vocabulary import Existence
from blaidctl.instruments import contract, queries

if TYPE_CHECKING:
    from collections.abc import Callable

    from blaidctl.core.execute import Tx

#: In the standard, and no money: "no currency" and the code for tests.
_NO_MONEY = frozenset({"XTS", "XXX"})


@cache
def standard() -> frozenset[str]:
    """Return the codes of ISO 4217."""
    import iso4217

    return frozenset(currency.code for currency in iso4217.Currency) - _NO_MONEY


def known(tx: Tx) -> Callable[[str], bool]:
    """Return what says whether a currency is known."""
    declared = {row["code"] for row in tx.fetch(queries.LIST_CURRENCIES)}
    return lambda code: code in declared or code in standard()


def add(tx: Tx, request: contract.AddCurrency) -> contract.AddedCurrency:
    """Declare a currency; repeating the same call is harmless, other places are a conflict."""
    if request.code in standard():
        raise errors.AlreadyExists(
            f"{request.code} is a currency of ISO 4217: it is known without being declared",
            next_steps=["Use it as it is."],
        )
    found = tx.first(queries.FIND_CURRENCY, code=request.code)
    if found and found["places"] != request.places:
        raise errors.AlreadyExists(f"currency {request.code} exists with {found['places']} places")
    if found is None:
        tx.run(queries.INSERT_CURRENCY, code=request.code, places=request.places, now=tx.now)
    tx.target, tx.after = {"currency": request.code}, {"places": request.places}
    tx.before = {"places": found["places"]} if found else None
    effect = Existence.EXISTS if found else Existence.CREATED
    return contract.AddedCurrency(code=request.code, places=request.places, effect=effect)


def list_(tx: Tx, _request: contract.ListCurrencies) -> contract.CurrencyList:
    """Return the declared currencies, by code."""
    rows = [contract.Currency(**row) for row in tx.fetch(queries.LIST_CURRENCIES)]
    return contract.CurrencyList(currencies=rows, standard=len(standard()))
