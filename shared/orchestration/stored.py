"""Runs the library's turns with conversations in Table Storage.

It imports the storage SDK, so a program without storage does not import it.
"""

from __future__ import annotations

from ..audit.trail import AuditTrail
from ..config import FoundryAgentServiceConfig, IdentitySettings, SpendingSettings, StorageSettings
from ..config.spending import read_budgets, read_prices
from ..foundry.errors import ConfigurationError
from ..foundry.loop_end import ClosedWithLoop
from ..identity.credentials import EntraCredential
from ..identity.resolution import token_credential
from ..metering.budgets.budgets import Budgets
from ..metering.meter import Meter
from ..state.account import open_tables
from ..state.clock import StorageClock
from ..state.conversation_ids import ConversationIds
from ..state.lanes import Lanes
from ..state.signing import STORAGE_SCOPE, SignIn
from ..turns.admission import Admission
from ..turns.answerer import Answerer
from ..turns.pipeline import Turns, TurnStorage
from ..turns.recording import Recording

NO_IDENTITY = (
    "AzureWebJobsStorage__tableServiceUri is set and there is no Entra identity: assign a managed "
    "identity (in Azure), or sign in with 'az login' (on your machine)."
)


def stored_turns(
    answerer: Answerer, storage: StorageSettings, identity: IdentitySettings
) -> tuple[Turns, ClosedWithLoop]:
    """Create turns in the configured storage account; returns the resources to close as well.

    Raises:
        ConfigurationError: if there is no connection string and no Entra identity.
    """
    sign_in = None if storage.connection_string else _sign_in(identity)
    clock = StorageClock()
    tables = open_tables(storage, sign_in, clock)
    audit, meter = AuditTrail(tables.audit, tables.state, None), Meter(tables.metrics)
    spending = SpendingSettings.from_env()
    budgets = Budgets(read_budgets(spending.budgets), tables.metrics, clock)
    prices, foundry = read_prices(spending.prices), FoundryAgentServiceConfig.from_env()
    admission = Admission(budgets, prices, foundry)
    recording = Recording(audit, meter, admission, content=storage.record_content)
    lanes = Lanes(tables.state, clock)
    ids = ConversationIds(tables.state, lanes, clock)
    places = TurnStorage(tables.state, lanes, clock, _wake_no_worker, ids, storage.record_content)
    closes = [budgets.aclose, tables.state.aclose, audit.aclose, meter.aclose]
    if sign_in is not None:
        closes.append(sign_in.bearer.aclose)
    return Turns(None, answerer, places, recording), ClosedWithLoop(*closes)


def _sign_in(identity: IdentitySettings) -> SignIn:
    tokens = token_credential(identity)
    if tokens is None:
        raise ConfigurationError(NO_IDENTITY)
    return SignIn(tokens, EntraCredential(tokens, STORAGE_SCOPE))


async def _wake_no_worker(_: str, __: str) -> None:
    """Do nothing: a program has no workers, and the app's sweeper finds waiting jobs."""
