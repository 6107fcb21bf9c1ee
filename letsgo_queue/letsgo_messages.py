"""The messages that LetsGo itself sends, with models for their payloads.

    stripe = StripeEvents()

    @stripe.on("invoice.paid")
    def on_paid(event: StripeEvent) -> None: ...

    worker.handler(StripeMessage)(stripe)

    @worker.handler(ContactMessage)
    def on_contact(message: ContactMessage) -> None: ...

LetsGo writes names in camel case. So do these models on the queue, while Python code uses snake
case. Fields that a later LetsGo adds are kept in `model_extra`.

https://github.com/47chapters/letsgo/blob/main/packages/types/src/index.ts has LetsGo's own types.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

from letsgo_queue.errors import HandlerMissing, SettingsInvalid
from letsgo_queue.message import LetsGoMessageType, Message

StripeFunction = Callable[["StripeEvent"], object]
"""`(event)`, sync or async. Its result is ignored."""

_StripeFunctionT = TypeVar("_StripeFunctionT", bound=StripeFunction)


class _LetsGoModel(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="allow", alias_generator=to_camel, populate_by_name=True
    )


class Identity(_LetsGoModel):
    """A user, or a machine.

    Attributes:
        iss: Who issued the identity.
        sub: Its name there.
    """

    iss: str
    sub: str


class Card(_LetsGoModel):
    """The payment card on file.

    Attributes:
        last4: The last four digits.
        brand: The brand.
    """

    last4: str
    brand: str


class StripeSubscription(_LetsGoModel):
    """A tenant's subscription at Stripe.

    Attributes:
        subscription_id: Its id there.
        status: Its status there.
        current_period_end: When the paid period ends.
        card: The card on file.
    """

    subscription_id: str
    status: str
    current_period_end: str
    card: Card | None = None


class PlanChange(_LetsGoModel):
    """A change of a tenant's plan.

    Attributes:
        timestamp: When.
        updated_by: Who changed it.
        new_plan_id: The plan from then on.
    """

    timestamp: str
    updated_by: Identity
    new_plan_id: str | None = None


class Plan(_LetsGoModel):
    """A tenant's plan.

    Attributes:
        plan_id: The plan.
        stripe_customer_id: The tenant at Stripe; it stays when the plan changes.
        stripe_subscription: The subscription, where the plan is paid by Stripe.
        changes: The changes so far.
    """

    plan_id: str
    stripe_customer_id: str | None = None
    stripe_subscription: StripeSubscription | None = None
    changes: tuple[PlanChange, ...] = ()


class Tenant(_LetsGoModel):
    """A tenant, as LetsGo's table has it.

    Attributes:
        tenant_id: Its id.
        display_name: Its name, which others may have too.
        created_at: When it was made.
        created_by: Who made it.
        updated_at: When it was last changed.
        updated_by: Who changed it.
        deleted_at: When it was deleted; None if it was not.
        deleted_by: Who deleted it.
        plan: Its plan.
    """

    tenant_id: str
    display_name: str
    created_at: str
    created_by: Identity
    updated_at: str
    updated_by: Identity
    deleted_at: str | None = None
    deleted_by: Identity | None = None
    plan: Plan


class Contact(_LetsGoModel):
    """What somebody wrote in the contact form.

    Attributes:
        email: Who wrote it.
        name: Their name.
        message: What they wrote.
        timestamp: When; LetsGo's API takes a form without it.
        query: The parameters of the page's address.
        tenant_id: The tenant, of a user who has logged in.
        identity_id: The user.
    """

    email: str
    name: str
    message: str
    timestamp: str | None = None
    query: dict[str, Any] = Field(default_factory=dict)
    tenant_id: str | None = None
    identity_id: str | None = None


class StripeEvent(_LetsGoModel):
    """An event that Stripe posted to LetsGo: https://docs.stripe.com/api/events/object.

    Attributes:
        type: What happened: `invoice.paid`.
        data: The object that it happened to; see `object`.
        stripe_mode: `LIVE` or `TEST`.
    """

    type: str
    data: dict[str, Any] = Field(default_factory=dict)
    stripe_mode: Literal["LIVE", "TEST"]

    @property
    def object(self) -> Any:
        """The invoice, subscription or other object, as Stripe sent it; None if there is none."""
        return self.data.get("object")


class NewTenant(_LetsGoModel):
    """The payload for a tenant that was made."""

    tenant: Tenant


class DeletedTenant(_LetsGoModel):
    """The payload for a tenant that was deleted.

    Attributes:
        tenant: The tenant.
        cancelled_plan_id: The plan that it had.
    """

    tenant: Tenant
    cancelled_plan_id: str | None = None


class ContactMessage(Message[Contact]):
    """`letsgo:contact`."""

    type: Literal[LetsGoMessageType.CONTACT] = LetsGoMessageType.CONTACT


class StripeMessage(Message[StripeEvent]):
    """`letsgo:stripe`."""

    type: Literal[LetsGoMessageType.STRIPE] = LetsGoMessageType.STRIPE


class TenantNewMessage(Message[NewTenant]):
    """`letsgo:tenant:new`."""

    type: Literal[LetsGoMessageType.TENANT_NEW] = LetsGoMessageType.TENANT_NEW


class TenantDeletedMessage(Message[DeletedTenant]):
    """`letsgo:tenant:deleted`."""

    type: Literal[LetsGoMessageType.TENANT_DELETED] = LetsGoMessageType.TENANT_DELETED


class StripeEvents:
    """A handler of Stripe messages, which calls a function for each type of event."""

    def __init__(self) -> None:
        self._functions: dict[str, StripeFunction] = {}
        self._default: StripeFunction | None = None

    def on(self, *event_types: str) -> Callable[[_StripeFunctionT], _StripeFunctionT]:
        """Decorate the function for some types of events: `@stripe.on("invoice.paid")`.

        Raises:
            SettingsInvalid: No type is named, or one has a function already.
        """
        if not event_types or not all(isinstance(each, str) for each in event_types):
            raise SettingsInvalid('say which events: @stripe.on("invoice.paid").')

        def register(function: _StripeFunctionT) -> _StripeFunctionT:
            for each in event_types:
                if each in self._functions:
                    raise SettingsInvalid(f"Stripe's event {each!r} has a function already.")
                self._functions[each] = function
            return function

        return register

    def default(self, function: _StripeFunctionT, /) -> _StripeFunctionT:
        """Decorate the function for all events that have none.

        Raises:
            SettingsInvalid: There is one already.
        """
        if self._default is not None:
            raise SettingsInvalid("Stripe's events have a default already.")
        self._default = function
        return function

    def __call__(self, message: StripeMessage) -> object:
        """Handle a message.

        Raises:
            HandlerMissing: There is no function for its event, and no default.
        """
        event = message.payload
        function = self._functions.get(event.type, self._default)
        if function is None:
            raise HandlerMissing(
                "there is no function for this event of Stripe's. Add one with @stripe.on(...), or "
                "@stripe.default for all others, or have Stripe not send it."
            )
        return function(event)
