"""Settings: environment (`BLAIDCTL_*`), then a TOML file, then defaults. Unknown names are refused.

The file is `$BLAIDCTL_CONFIG`, else `config.toml` in the per-user configuration directory when it exists. The
database URL may hold a password: it is never shown; `Settings.shown_database()` gives the text for people.
"""

from __future__ import annotations

import os
import tomllib
from pathlib import Path
from typing import Annotated, Any

import platformdirs
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict

from blaidctl.core.errors import SettingsInvalid

PREFIX = "BLAIDCTL_"
CONFIG_VARIABLE = "BLAIDCTL_CONFIG"
#: What `bot run`, `job run` and `backtest run` tell their process about itself; no settings, but known.
INSTANCE_VARIABLES = frozenset({
    "BLAIDCTL_BOT_ID", "BLAIDCTL_INSTANCE_ID", "BLAIDCTL_JOB_ID", "BLAIDCTL_JOB_ATTEMPT", "BLAIDCTL_RUN_MARK",
    "BLAIDCTL_BARS", "BLAIDCTL_SYMBOL", "BLAIDCTL_CURRENCY", "BLAIDCTL_CAPITAL",
})  # fmt: skip
#: One that is rewritten with the database is no second witness.
_LEAST_SINKS = 2


class Settings(BaseSettings):
    """Everything an operator can set. Durations are seconds; the defaults are the contract's limits on waiting."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    database_url: SecretStr = Field(default_factory=lambda: SecretStr(default_database_url()))
    #: The name of an automated caller (cron, a runbook runner): stands as actor instead of the login name.
    service_name: str | None = Field(default=None, pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    connect_timeout_s: int = Field(default=5, ge=1, le=60)
    lock_timeout_s: int = Field(default=2, ge=1, le=120)
    kill_lock_timeout_s: int = Field(default=10, ge=1, le=120)
    statement_timeout_s: int = Field(default=30, ge=1, le=3600)
    heartbeat_s: int = Field(default=5, ge=1, le=60)
    lease_s: int = Field(default=15, ge=2, le=600)
    grace_s: int = Field(default=5, ge=0, le=300)
    #: The risk policy (TOML) that the limits of account links are judged by; default: the one that ships.
    risk_policy: Path | None = None
    #: Folders outside the database that checkpoints are written to: at least two, absolute, separated by ":".
    checkpoint_sinks: Annotated[tuple[Path, ...], NoDecode] = ()
    #: The file with the private key that signs them (mode 0600; `audit key new`).
    checkpoint_key: Path | None = None
    #: The verifier keys that checkpoints are checked with, separated by white space; old keys stay here.
    checkpoint_verifiers: Annotated[tuple[str, ...], NoDecode] = ()
    #: How old the last checkpoint may be for `resurrect`, `account link` and `allocation run`; None: any age.
    checkpoint_max_age_s: int | None = Field(default=None, ge=1, le=31_622_400)

    #: A PostgreSQL server where `verify` may make scratch databases, which it drops; never the database itself.
    verify_postgresql_url: SecretStr | None = None

    @field_validator("checkpoint_sinks", mode="before")
    @classmethod
    def _folders(cls, value: Any) -> Any:
        return tuple(filter(None, value.split(os.pathsep))) if isinstance(value, str) else value

    @field_validator("checkpoint_sinks")
    @classmethod
    def _two_apart(cls, value: tuple[Path, ...]) -> tuple[Path, ...]:
        # By name only: every command reads the settings, and a share that hangs may hold up no kill.
        if value and (len(value) < _LEAST_SINKS or len({os.path.normpath(path) for path in value}) < len(value)):
            msg = "must name at least two different folders"
            raise ValueError(msg)
        if not all(path.is_absolute() for path in value):
            msg = "must name folders from / on"
            raise ValueError(msg)
        return value

    @field_validator("checkpoint_verifiers", mode="before")
    @classmethod
    def _keys(cls, value: Any) -> Any:
        return tuple(value.split()) if isinstance(value, str) else value

    @field_validator("database_url")
    @classmethod
    def _known_engine(cls, value: SecretStr) -> SecretStr:
        # The driver is this program's choice; another one's name would be taken for an address and not be used.
        engine = value.get_secret_value().partition(":")[0]
        if engine not in {"sqlite", "postgresql", "postgres", "postgresql+psycopg"}:
            msg = "must start with sqlite:/// or postgresql://"
            raise ValueError(msg)
        return value


def default_database_url() -> str:
    """Return the SQLite file of this user: in the platform's data directory, never the working directory."""
    return f"sqlite:///{Path(platformdirs.user_data_dir('blaidctl')) / 'blaidctl.db'}"


def config_path() -> Path:
    """Return the settings file that applies, whether or not it exists."""
    named = os.environ.get(CONFIG_VARIABLE)
    return Path(named) if named else Path(platformdirs.user_config_dir("blaidctl")) / "config.toml"


def load() -> Settings:
    """Read the settings. Raises SettingsInvalid naming the variable or key, never its value."""
    _refuse_unknown_variables()
    try:
        return _Layered(**_file_values())
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()]
        raise SettingsInvalid("the settings are invalid", missing=problems) from None


class _Layered(Settings):
    """The file's values come in as arguments; the environment stands above them."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - pydantic-settings' signature
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return env_settings, init_settings


def _refuse_unknown_variables() -> None:
    known = {f"{PREFIX}{name.upper()}" for name in Settings.model_fields} | {CONFIG_VARIABLE}
    unknown = sorted(name for name in os.environ if name.startswith(PREFIX) and name not in known | INSTANCE_VARIABLES)
    if unknown:
        raise SettingsInvalid(
            f"unknown variable: {', '.join(unknown)}",
            missing=[f"{name} is not a setting" for name in unknown],
            next_steps=[f"Known: {', '.join(sorted(known))}."],
        )


def _file_values() -> dict[str, Any]:
    path = config_path()
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if CONFIG_VARIABLE in os.environ:
            raise SettingsInvalid(f"{CONFIG_VARIABLE} names a file that does not exist: {path}") from None
        return {}
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise SettingsInvalid(f"the settings file {path} cannot be read: {error}") from None
