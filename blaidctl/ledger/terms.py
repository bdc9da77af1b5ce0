"""The terms of one import: what it says about its records, beside what they say themselves."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What was said when an import was asked for."""

    account: str
    #: Of vocabulary.FileFormat, or `paged` for what a provider gave page by page.
    format: str
    #: The file's name, or the provider's.
    source_name: str
    #: What holds where a record does not say it; a record that says otherwise is refused.
    bot: str | None = None
    instance: int | None = None
    exchange: str | None = None
    asset_class: str | None = None
    timezone: str | None = None
    #: The source does not say fees because there are none.
    no_fee: bool = False
    #: Fills from before the bot's first link to the account are its own, too.
    history: bool = False
    #: The number of this import in the account's own series: a missing one is a gap.
    sequence: int | None = None
    provider_id: str | None = None
    #: The source may say the same record twice (pages that overlap).
    repeats: bool = False
