"""The one error tree.

Class = category = exit code = HTTP status; `error_code` = the exact reason; the docstring's first line is the
default sentence. `body()` is the same object on the command line and over HTTP. The tables in the docs are
printed from these classes (`table()`), and a test compares them.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any, ClassVar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

#: What `body()` holds, in this order, for every error of the product.
BODY_FIELDS = ("error_code", "message", "missing_requirements", "next_steps", "trace_id")


class BlaidError(Exception):
    """The command could not be carried out."""

    error_code: ClassVar[str] = ""
    exit_code: ClassVar[int] = 70
    http_status: ClassVar[int] = 500
    #: Whether the refusal of a mutating operation is itself an audit entry.
    audited: ClassVar[bool] = False
    next_steps: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        message: str = "",
        *,
        missing: Sequence[str] = (),
        next_steps: Sequence[str] = (),
        **facts: Any,
    ) -> None:
        """Take a sentence that says what is wrong, what is missing, and what to do next.

        `facts` are values the edge may act on (the count a prompt must show); they are not part of the body.
        """
        self.message = message or default_sentence(type(self))
        self.missing = tuple(missing)
        self.steps = tuple(next_steps) or type(self).next_steps
        self.facts = facts
        super().__init__(self.message)

    def body(self, trace_id: str) -> dict[str, Any]:
        """Return the five fields of the error object, ready for JSON."""
        return {
            "error_code": self.error_code,
            "message": self.message,
            "missing_requirements": list(self.missing),
            "next_steps": list(self.steps),
            "trace_id": trace_id,
        }


def default_sentence(cls: type[BlaidError]) -> str:
    """Return the first line of the class's docstring: the sentence when nothing more exact is known."""
    return (inspect.getdoc(cls) or cls.__name__).splitlines()[0]


# --- categories: one a row of the exit-code table -------------------------------------------------------------


class Findings(BlaidError):
    """The answer is no, or there are findings."""

    exit_code, http_status = 1, 200


class Invalid(BlaidError):
    """Usage or invalid input; nothing was written."""

    exit_code, http_status = 2, 422


class NotFound(BlaidError):
    """Not found."""

    exit_code, http_status, audited = 3, 404, True


class Conflict(BlaidError):
    """The request conflicts with the state of the database."""

    exit_code, http_status, audited = 4, 409, True


class Refused(BlaidError):
    """Refused by a risk rule."""

    exit_code, http_status, audited = 5, 422, True


class Forbidden(BlaidError):
    """Forbidden for this actor."""

    exit_code, http_status, audited = 6, 403, True


class Unbuilt(BlaidError):
    """Not implemented; it answers with what is missing and never with a part."""

    exit_code, http_status = 7, 501


class Unavailable(BlaidError):
    """The database, its schema or a provider is unavailable; nothing was written."""

    exit_code, http_status = 8, 503


class Unsettled(BlaidError):
    """The outcome is unknown, or the database is busy."""

    exit_code, http_status = 9, 503


class Bug(BlaidError):
    """A bug in blaidctl."""

    exit_code, http_status = 70, 500


class Interrupt(BlaidError):
    """Interrupted before COMMIT; nothing was written."""

    exit_code, http_status = 130, 503


# --- 1: findings ------------------------------------------------------------------------------------------------


class StopUnconfirmed(Findings):
    """The kill is committed, but some processes are not proven dead yet."""

    error_code = "STOP_UNCONFIRMED"
    next_steps = (
        "Look at the hosts named: the process may still trade.",
        "Run `blaidctl status` to see which stops are still unconfirmed.",
    )


class KillEnded(Findings):
    """This request id was done before, and its kill has been ended since: a bot is live."""

    error_code = "KILL_ENDED"
    next_steps = ("Look at `blaidctl kill-events`; to kill again, use a new --request-id.",)


class MayNotTrade(Findings):
    """The bot may not trade."""

    error_code = "MAY_NOT_TRADE"
    next_steps = ("Do not start the bot; clear the reasons named first.",)


class AuditBroken(Findings):
    """The audit chain does not verify."""

    error_code = "AUDIT_BROKEN"
    next_steps = (
        "Treat the database as evidence: copy it, change nothing.",
        "Follow the runbook for suspected tampering (runbooks/suspected-tampering.md).",
    )


class SchemaFindings(Findings):
    """The database's schema differs from what this version needs."""

    error_code = "SCHEMA_FINDINGS"
    next_steps = ("Run `blaidctl db plan`; restore missing triggers before any bot trades.",)


class RestartUnconfirmed(Findings):
    """The bot is live again, but no process of it was seen to start."""

    error_code = "RESTART_UNCONFIRMED"
    next_steps = (
        "Look with `blaidctl bot show BOT`; start it with `blaidctl bot run --standby BOT -- CMD` where it belongs.",
    )


class DoctorFindings(Findings):
    """Something of this installation is not as it should be."""

    error_code = "DOCTOR_FINDINGS"
    next_steps = ("Take the next step that stands under each finding, then run `blaidctl doctor` again.",)


class ProcessFailed(Findings):
    """The supervised process ended with a failure."""

    error_code = "PROCESS_FAILED"
    next_steps = ("Read the process's own log; its exit status is on the instance row.",)


class ReapIncomplete(Findings):
    """The reaper found something that it did not do."""

    error_code = "REAP_INCOMPLETE"
    next_steps = (
        "Look at each item named; the next run tries again (runbooks/stuck-jobs.md).",
        "For OTHER_HOST and NOT_PROVEN_GONE: look at that host, a process may still trade.",
    )


class ClockAnomaly(Findings):
    """A heartbeat lies in the future: a clock is or was wrong, and the row is not reaped before its time."""

    error_code = "CLOCK_ANOMALY"
    next_steps = ("Compare the clocks of the hosts and the database; follow runbooks/stuck-jobs.md.",)


class ProviderNotOk(Findings):
    """A provider is not OK."""

    error_code = "PROVIDER_NOT_OK"
    next_steps = (
        "Follow runbooks/broker-outage.md; its bots may not trade until it is OK (`blaidctl provider list`).",
    )


class LedgerDiffers(Findings):
    """The statement and the ledger differ."""

    error_code = "LEDGER_DIFFERS"
    next_steps = (
        "Look at each difference: which side the venue confirms is a question for the venue (runbooks/wrong-pnl.md).",
        "Import what is missing here; take back a wrong fill with a reversal and import the right one.",
    )


class PlayFailed(Findings):
    """The quickstart saw something that must not be."""

    error_code = "PLAY_FAILED"
    next_steps = ("Report it with the sandbox folder: this is a defect of blaidctl or of this machine.",)


class NotVerified(Findings):
    """A verification did not pass, or could not be run."""

    error_code = "NOT_VERIFIED"
    next_steps = (
        "Read the transcripts of those that did not pass (`--output json`): each ends at what is not as it must be.",
        "One that was NOT_RUN says what it needs.",
    )


class FillsAfterKill(Findings):
    """Fills were executed after the kill of their bot; they are kept, and somebody must look."""

    error_code = "FILL_AFTER_KILL"
    next_steps = (
        "Cancel what the bot left at the venue, and find out what still trades (runbooks/ledger.md).",
        "Look at `blaidctl ledger events --bot BOT` and `blaidctl bot show BOT`.",
    )


class AllocationDiffers(Findings):
    """The stored run is not what the ledger, as it stood, gives."""

    error_code = "ALLOCATION_DIFFERS"
    next_steps = (
        "Move no money by this run; take another one.",
        "Run `blaidctl audit verify`, and follow runbooks/suspected-tampering.md if it finds something.",
    )


# --- 2: invalid -------------------------------------------------------------------------------------------------


class UsageInvalid(Invalid):
    """The command line is not one that blaidctl knows."""

    error_code, http_status = "USAGE", 400
    next_steps = ("Run the command with --help.",)


class InvalidRequest(Invalid):
    """The request is invalid."""

    error_code = "INVALID_REQUEST"
    next_steps = ("Correct the fields named and run the command again; nothing was written.",)


class MalformedBody(Invalid):
    """The request body is not a JSON object."""

    error_code, http_status = "MALFORMED_BODY", 400
    next_steps = ("Send one JSON object with Content-Type application/json.",)


class ConfirmCountMissing(Invalid):
    """A wide target needs the number of bots that it will kill."""

    error_code = "CONFIRM_COUNT_MISSING"
    next_steps = ("Look first with --dry-run, then pass --confirm-count N.",)


class SettingsInvalid(Invalid):
    """The settings are invalid."""

    error_code = "SETTINGS_INVALID"
    next_steps = ("Correct the variable or the line of the settings file that is named.",)


class RiskPolicyInvalid(Invalid):
    """The risk policy is invalid; without one no limit can be judged."""

    error_code = "RISK_POLICY_INVALID"
    next_steps = (
        "Correct the file that BLAIDCTL_RISK_POLICY names, every line that is listed; nothing was written.",
        "Without BLAIDCTL_RISK_POLICY the policy that ships is in force (runbooks/accounts-and-limits.md).",
    )


class AllocationPolicyInvalid(Invalid):
    """The allocation policy is invalid."""

    error_code = "ALLOCATION_POLICY_INVALID"
    next_steps = ("Correct every key that is listed (runbooks/allocation.md); nothing was written.",)


class KeyFileInvalid(Invalid):
    """The key file is not one that checkpoints may be signed with."""

    error_code = "KEY_FILE_INVALID"
    next_steps = (
        "Mend what is named; a new key is made with `blaidctl audit key new FILE` (runbooks/key-rotation.md).",
    )


class CredentialsInvalid(Invalid):
    """The credentials for a provider cannot be used."""

    error_code = "CREDENTIALS_INVALID"
    next_steps = ("Mend what is named (runbooks/broker-outage.md); nothing of them is shown here, or stored.",)


class CommandNotStartable(Invalid):
    """The bot's command cannot be started."""

    error_code = "COMMAND_NOT_STARTABLE"
    next_steps = ("Give an executable file after `--`: blaidctl bot run BOT -- CMD ARG…",)


class FileUnreadable(Invalid):
    """The file cannot be read."""

    error_code = "FILE_UNREADABLE"
    next_steps = ("Give the path of a readable file, or `-` for standard input.",)


class FileInvalid(Invalid):
    """The file is not laid out as it must be; nothing of it was loaded."""

    error_code = "FILE_INVALID"
    next_steps = ("Correct what is named (runbooks/bad-instrument-data.md) and load the file again.",)


class RowsRefused(Invalid):
    """Rows of the file are refused, so nothing of it was loaded."""

    error_code = "ROWS_REFUSED"
    next_steps = ("Correct each line that is named (runbooks/bad-instrument-data.md) and load the file again.",)


class FileUnwritable(Invalid):
    """The file cannot be written."""

    error_code = "FILE_UNWRITABLE"
    next_steps = ("Name a file in a folder that exists and that you may write to.",)


class BackupInvalid(Invalid):
    """The file is no backup that can be restored."""

    error_code = "BACKUP_INVALID"
    next_steps = (
        "Take another backup, with the manifest that was written beside it (runbooks/migration-day.md).",
        "Keep this file: a backup that was changed is evidence.",
    )


class ConfirmationMissing(Invalid):
    """What can destroy evidence needs a number typed; nothing was written."""

    error_code = "CONFIRMATION_MISSING"
    next_steps = ("Read what would be lost, then give the number: at a terminal when asked, in a script as an option.",)


# --- 3: not found -----------------------------------------------------------------------------------------------


class BotNotFound(NotFound):
    """No such bot."""

    error_code = "BOT_NOT_FOUND"
    next_steps = ("Run `blaidctl bot list` for the bots that exist.",)


class UserNotFound(NotFound):
    """No such user."""

    error_code = "USER_NOT_FOUND"
    next_steps = ("Run `blaidctl user list`; add one with `blaidctl user add ID`.",)


class AccountNotFound(NotFound):
    """No such broker account."""

    error_code = "ACCOUNT_NOT_FOUND"
    next_steps = ("Run `blaidctl account list` for the accounts that exist.",)


class InstanceNotFound(NotFound):
    """No such bot instance."""

    error_code = "INSTANCE_NOT_FOUND"
    next_steps = ("Run `blaidctl bot show BOT` for the instances of a bot.",)


class JobNotFound(NotFound):
    """No such job."""

    error_code = "JOB_NOT_FOUND"
    next_steps = ("Run `blaidctl job list` for the jobs that exist.",)


class JobTypeNotFound(NotFound):
    """No such job type."""

    error_code = "JOB_TYPE_NOT_FOUND"
    next_steps = ("Run `blaidctl job type list`; add one, with its limits, with `blaidctl job type add NAME …`.",)


class TokenNotFound(NotFound):
    """No such token."""

    error_code = "TOKEN_NOT_FOUND"
    next_steps = ("Run `blaidctl token list`.",)


class InstrumentNotFound(NotFound):
    """No such instrument."""

    error_code = "INSTRUMENT_NOT_FOUND"
    next_steps = ("Run `blaidctl instrument list` for the instruments that are loaded.",)


class FillNotFound(NotFound):
    """No such fill."""

    error_code = "FILL_NOT_FOUND"
    next_steps = ("Run `blaidctl ledger fills BOT` for the fills that are there.",)


class MoveNotFound(NotFound):
    """No such change of a position."""

    error_code = "MOVE_NOT_FOUND"
    next_steps = ("Run `blaidctl ledger events --account ACCOUNT`: POSITION_MOVED names each with its id.",)


class FlowNotFound(NotFound):
    """No such capital flow."""

    error_code = "FLOW_NOT_FOUND"
    next_steps = ("Run `blaidctl ledger flows BOT` for the flows that are there.",)


class SessionNotFound(NotFound):
    """No such session."""

    error_code = "SESSION_NOT_FOUND"
    next_steps = ("Run `blaidctl session list`; load sessions with `blaidctl session load HOURS`.",)


class ProviderNotFound(NotFound):
    """No such provider."""

    error_code = "PROVIDER_NOT_FOUND"
    next_steps = ("Run `blaidctl provider list`; add one with `blaidctl provider add ID …`.",)


class NothingMatched(NotFound):
    """The wide target matches no bot."""

    error_code = "NOTHING_MATCHED"
    next_steps = ("Run `blaidctl bot list` and check the user, tag, account or exchange.",)


class AllocationNotFound(NotFound):
    """No such allocation run."""

    error_code = "ALLOCATION_NOT_FOUND"
    next_steps = ("Run `blaidctl allocation list` for the runs that exist.",)


class RouteNotFound(NotFound):
    """No such path; the routes are under /api/."""

    error_code, audited = "ROUTE_NOT_FOUND", False
    next_steps = ("Run `blaidctl endpoints` for the routes that exist.",)


# --- 4: conflict ------------------------------------------------------------------------------------------------


class RequestIdReused(Conflict):
    """This request id was used before with other parameters."""

    error_code = "REQUEST_ID_REUSED"
    next_steps = ("Use a new --request-id, or repeat the first request exactly.",)


class CountMismatch(Conflict):
    """The number of bots matched is not the number confirmed."""

    error_code = "COUNT_MISMATCH"
    next_steps = ("Look again with --dry-run: the fleet changed since you counted.",)


class ConfirmationStale(Conflict):
    """The database is no longer what was confirmed; nothing was written."""

    error_code = "CONFIRMATION_STALE"
    next_steps = ("Look again: somebody wrote in the meantime. Then confirm the number that stands now.",)


class BackupExists(Conflict):
    """There is a file of that name; a backup is never written over one."""

    error_code = "BACKUP_EXISTS"
    next_steps = ("Choose another name.",)


class RowsLost(Conflict):
    """The migration would have lost rows; it was rolled back."""

    error_code = "ROWS_LOST"
    next_steps = (
        "Run `blaidctl db history`: the revision named is not applied.",
        "If nobody deleted rows at that moment, report it: this is a defect of the migration.",
    )


class AlreadyExists(Conflict):
    """It exists already, with other values."""

    error_code = "ALREADY_EXISTS"
    next_steps = ("Choose another id, or repeat the first call exactly.",)


class InstanceOver(Conflict):
    """The instance has ended; a late write of its worker is refused."""

    error_code = "INSTANCE_OVER"
    next_steps = ("Stop the process: it no longer has the right to trade.",)


class MetricsMissing(Conflict):
    """A backtest has no metrics, and so is no success."""

    error_code = "METRICS_MISSING"
    next_steps = (
        "Run it with `blaidctl backtest run`, which computes them; `blaidctl job show JOB` says how it ended.",
    )


class JobTerminal(Conflict):
    """The attempt of the job has ended; a late write of its worker is refused."""

    error_code = "JOB_TERMINAL"
    next_steps = (
        "Stop the worker: this attempt is over, whatever it still does counts for nothing.",
        "Look at `blaidctl job show JOB`; `blaidctl job start TYPE --job JOB` begins the next attempt.",
    )


class JobRunning(Conflict):
    """The job is running; its next attempt begins only after this one has ended."""

    error_code = "JOB_RUNNING"
    next_steps = ("Wait for its end; an attempt whose heart has stopped is ended by `blaidctl job reap`.",)


class AlreadyLinked(Conflict):
    """The bot has an open link to an account; it has one at the most."""

    error_code = "ALREADY_LINKED"
    next_steps = ("Run `blaidctl account unlink BOT` first, or change its limits with `blaidctl account limits BOT`.",)


class NotLinked(Conflict):
    """The bot has no open link to that account."""

    error_code = "NOT_LINKED"
    next_steps = ("Link it, with all six limits: `blaidctl account link BOT ACCOUNT --max-contracts …`.",)


class AccountClosed(Conflict):
    """The account is closed; no bot may be linked to it."""

    error_code = "ACCOUNT_CLOSED"
    next_steps = ("Link the bot to an open account: `blaidctl account list`.",)


class InstanceRunning(Conflict):
    """An instance of the bot is running."""

    error_code = "INSTANCE_RUNNING"
    next_steps = ("Stop the bot's supervisor, or kill the bot, then unlink it.",)


class AmbiguousInstrument(Conflict):
    """The symbol stands for several instruments."""

    error_code = "AMBIGUOUS_INSTRUMENT"
    next_steps = ("Name one of them fully: --exchange EXCHANGE --asset-class CLASS.",)


class MetricsIncomplete(Conflict):
    """Rows are missing that the numbers need, so there are none."""

    error_code = "METRICS_INCOMPLETE"
    next_steps = ("Mend every row that is listed; each case is explained in runbooks/wrong-pnl.md.",)


class LedgerConflict(Conflict):
    """The ledger holds something else under the same key; what it holds is never changed."""

    error_code = "LEDGER_CONFLICT"
    next_steps = (
        "Compare both that are named with the venue's own record (runbooks/ledger.md).",
        "If the ledger is wrong: `blaidctl ledger reverse ACCOUNT VENUE_TRADE_ID`, then import it under a new id.",
    )


class ProviderNotBound(Conflict):
    """The account is not bound to a provider that gives fills."""

    error_code = "PROVIDER_NOT_BOUND"
    next_steps = (
        "Look at `blaidctl provider show PROVIDER`; bind the account with `blaidctl provider bind PROVIDER ACCOUNT`.",
    )


class CursorMoved(Conflict):
    """Another pull of the same account was quicker; nothing was written."""

    error_code = "CURSOR_MOVED"
    next_steps = ("Run the same command again: it goes on from where the other one ended.",)


class CheckpointOvertaken(Conflict):
    """Another checkpoint of the same log was quicker; no entry was written."""

    error_code = "CHECKPOINT_OVERTAKEN"
    next_steps = ("The newer one stands; run the same command again only to sign what was written since.",)


class GuardRefused(Conflict):
    """The database refused the change: it would break an invariant."""

    error_code = "DATABASE_GUARD_REFUSED"
    next_steps = ("Read the sentence of the guard; nothing was written.",)


# --- 5: refused by a risk rule -----------------------------------------------------------------------------------


class BotKilled(Refused):
    """The bot is killed."""

    error_code = "BOT_KILLED"
    next_steps = ("Find out why (`blaidctl kill-events BOT`); `blaidctl resurrect` is the guarded way back.",)


class RiskSettingsMissing(Refused):
    """A link needs all six limits."""

    error_code = "RISK_SETTINGS_MISSING"
    next_steps = ("Give every limit that is listed, within its range.",)


class LimitOutOfRange(Refused):
    """A limit is outside the range that the risk policy allows."""

    error_code = "LIMIT_OUT_OF_RANGE"
    next_steps = (
        "Choose a value within the range that is listed.",
        "A wider range is a change of the risk policy (runbooks/accounts-and-limits.md), not of the link.",
    )


class CheckpointStale(Refused):
    """The last checkpoint of the audit log is older than this desk allows."""

    error_code = "CHECKPOINT_STALE"
    next_steps = (
        "Make one: `blaidctl audit checkpoint`; then run the same command again.",
        "If that refuses to sign, the log does not verify: follow runbooks/suspected-tampering.md.",
    )


# --- 6: forbidden -------------------------------------------------------------------------------------------------


class Unauthenticated(Forbidden):
    """A valid bearer token is required."""

    error_code, http_status, audited = "UNAUTHENTICATED", 401, False
    next_steps = ("Send `Authorization: Bearer TOKEN`; `blaidctl token add` makes one.",)


class CrossUserLink(Forbidden):
    """The bot and the account belong to different users."""

    error_code = "CROSS_USER_LINK"
    next_steps = ("Link the bot to an account of its own user: `blaidctl account list --user USER`.",)


class AccountHeld(Forbidden):
    """Another user holds this account at the broker."""

    error_code = "ACCOUNT_HELD"
    next_steps = ("Check the account's number with the broker; `blaidctl account list` shows who holds it.",)


class CrossAccountFill(Forbidden):
    """A fill belongs to another account than the one that it was imported into."""

    error_code = "CROSS_ACCOUNT_FILL"
    next_steps = ("Import each account's own file into that account (runbooks/ledger.md); nothing was written.",)


class CrossUserFill(Forbidden):
    """A fill names a bot of another user than the account's."""

    error_code = "CROSS_USER_FILL"
    next_steps = ("Look at `blaidctl account show ACCOUNT` and `blaidctl bot show BOT`; nothing was written.",)


class UnlinkedFill(Forbidden):
    """A fill names a bot that was not linked to the account at that time."""

    error_code = "UNLINKED_FILL"
    next_steps = (
        "Look at the links: `blaidctl account events ACCOUNT`; nothing was written.",
        "What a bot traded on this account before it was first linked here is imported with --history.",
    )


# --- 7: not implemented -------------------------------------------------------------------------------------------


class NotBuilt(Unbuilt):
    """This operation is not implemented."""

    error_code = "NOT_IMPLEMENTED"
    next_steps = ("See AUDIT_FINDINGS.md for the finding that tracks it; `blaidctl endpoints` lists what works.",)


# --- 8: unavailable -----------------------------------------------------------------------------------------------


class DatabaseDown(Unavailable):
    """The database cannot be reached."""

    error_code = "DATABASE_DOWN"
    next_steps = (
        "Follow the runbook for a database that is down (runbooks/database-down.md).",
        "Stop the bots' processes on their hosts by hand if money is at risk.",
    )


class LeaseLost(Unavailable):
    """No heartbeat could be written for the length of the lease; the process was ended."""

    error_code = "LEASE_LOST"
    next_steps = (
        "Follow the runbook for a database that is down (runbooks/database-down.md).",
        "Start the process again when `blaidctl doctor` finds the database well.",
    )


class DatabaseMissing(Unavailable):
    """The database does not exist yet."""

    error_code = "DATABASE_MISSING"
    next_steps = ("Check BLAIDCTL_DATABASE_URL; create the schema with `blaidctl db upgrade`.",)


class DatabaseReadOnly(Unavailable):
    """The database is read-only for this user."""

    error_code = "DATABASE_READ_ONLY"
    next_steps = ("Check the permissions of the file or role, and that the server is the primary.",)


class DatabasePermission(Unavailable):
    """The database refuses this role."""

    error_code = "DATABASE_PERMISSION"
    next_steps = ("Check the role's login and grants with the database's owner.",)


class DiskFull(Unavailable):
    """The disk that holds the database is full."""

    error_code = "DISK_FULL"
    next_steps = ("Free space on the database's disk, then run the same command again.",)


class DatabaseCorrupt(Unavailable):
    """The database file is damaged or is not a database."""

    error_code = "DATABASE_CORRUPT"
    next_steps = ("Check BLAIDCTL_DATABASE_URL; restore the last backup.",)


class DriverMissing(Unavailable):
    """The driver for this database is not installed."""

    error_code = "DRIVER_MISSING"
    next_steps = ("Install it: pip install 'blaidctl[postgres]'.",)


class ExtraMissing(Unavailable):
    """An optional part of blaidctl is not installed."""

    error_code = "EXTRA_MISSING"
    next_steps = ("Install it: pip install 'blaidctl[http]'.",)


class CheckpointSinkFailed(Unavailable):
    """A sink of checkpoints cannot be read or written."""

    error_code = "CHECKPOINT_SINK_FAILED"
    next_steps = (
        "Mount or mend each sink that is named, then run `blaidctl audit checkpoint` again: it is safe.",
        "Follow runbooks/key-rotation.md to move a sink.",
    )


class SchemaBehind(Unavailable):
    """The database's schema is older than this version of blaidctl."""

    error_code = "SCHEMA_BEHIND"
    next_steps = ("Read `blaidctl db plan`, then run `blaidctl db upgrade`.",)


class SchemaAhead(Unavailable):
    """The database's schema is newer than this version of blaidctl, or not its own."""

    error_code = "SCHEMA_AHEAD"
    next_steps = ("Install the version of blaidctl that wrote this schema.",)


class BackupUnavailable(Unavailable):
    """No verified backup can be made here; nothing was changed."""

    error_code = "BACKUP_UNAVAILABLE"
    next_steps = (
        "Mend what is named (runbooks/migration-day.md): pg_dump and pg_restore on PATH, the right to make a database.",
        "Or make a backup by other means, try to restore it, and name it: --backup-done REFERENCE.",
    )


class ProviderDegraded(Unavailable):
    """The provider is DEGRADED: nothing is taken from it; nothing was written."""

    error_code = "PROVIDER_DEGRADED"
    next_steps = (
        "Follow runbooks/broker-outage.md; `blaidctl provider check` leads back to OK when it answers again.",
    )


class ProviderBlocked(Unavailable):
    """The provider is BLOCKED: nothing is taken from it; nothing was written."""

    error_code = "PROVIDER_BLOCKED"
    next_steps = (
        "Follow runbooks/broker-outage.md; `blaidctl provider check` leads back to OK when it answers again.",
    )


class AddressInUse(Unavailable):
    """The address cannot be listened on."""

    error_code = "ADDRESS_UNAVAILABLE"
    next_steps = ("Choose another --port, or stop what listens there.",)


# --- 9: unsettled ---------------------------------------------------------------------------------------------------


class OutcomeUnknown(Unsettled):
    """The connection was lost at COMMIT; whether the change was written is not known."""

    error_code = "OUTCOME_UNKNOWN"
    next_steps = (
        "Run the same command again with the same --request-id: it is done once, whichever it was.",
        "Look at `blaidctl audit tail --of-trace TRACE_ID`: an act that was committed has its entry.",
    )


class Busy(Unsettled):
    """The database stayed busy for longer than the limit; nothing was written."""

    error_code = "BUSY"
    next_steps = ("Run the same command again (with the same --request-id, if it had one).",)


class StatementTimeout(Unsettled):
    """A statement ran into its time limit; nothing was written."""

    error_code = "STATEMENT_TIMEOUT"
    next_steps = ("Narrow the target, or raise BLAIDCTL_STATEMENT_TIMEOUT_S for this command.",)


class OutputLost(Unsettled):
    """The answer could not be written to standard output."""

    error_code = "OUTPUT_LOST"
    next_steps = (
        "Free space or mend the redirection; look the outcome up with `blaidctl audit tail --of-trace TRACE_ID`.",
    )


# --- 70, 130 ---------------------------------------------------------------------------------------------------------


class Internal(Bug):
    """A bug in blaidctl; nothing was written unless the message says so."""

    error_code = "INTERNAL"
    next_steps = ("Report the trace id with the command that you ran.",)


class Interrupted(Interrupt):
    """Interrupted before COMMIT; nothing was written."""

    error_code = "INTERRUPTED"
    next_steps = ("Run the command again.",)


def leaves(root: type[BlaidError] = BlaidError) -> Iterator[type[BlaidError]]:
    """Yield every class with an `error_code` of its own, in the order they are written down."""
    for cls in root.__subclasses__():
        if cls.error_code:
            yield cls
        yield from leaves(cls)


def categories() -> list[type[BlaidError]]:
    """Return the classes that stand for one row of the exit-code table."""
    return BlaidError.__subclasses__()
