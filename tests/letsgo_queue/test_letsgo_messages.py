"""The messages that LetsGo itself sends, as its API puts them on the queue."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from letsgo_queue import (
    Client,
    ContactMessage,
    HandlerMissing,
    Message,
    SettingsInvalid,
    StripeEvent,
    StripeEvents,
    StripeMessage,
    TenantDeletedMessage,
    TenantNewMessage,
    Worker,
)
from letsgo_queue.letsgo_messages import (
    Card,
    DeletedTenant,
    Identity,
    NewTenant,
    Plan,
    PlanChange,
    StripeSubscription,
    Tenant,
)

IDENTITY = {"iss": "https://login.example.com/", "sub": "auth0|1"}

TENANT = {
    "category": "letsgo-tenant",
    "key": "ten-1",
    "tenantId": "ten-1",
    "displayName": "Ada's",
    "createdAt": "2026-11-26T08:00:00.000Z",
    "createdBy": IDENTITY,
    "updatedAt": "2026-11-26T08:00:00.000Z",
    "updatedBy": IDENTITY,
    "plan": {
        "planId": "business",
        "stripeCustomerId": "cus_1",
        "stripeSubscription": {
            "subscriptionId": "sub_1",
            "status": "active",
            "currentPeriodEnd": "2026-12-26T08:00:00.000Z",
            "card": {"last4": "4242", "brand": "visa"},
        },
        "changes": [
            {"timestamp": "2026-11-26T08:00:00.000Z", "updatedBy": IDENTITY, "newPlanId": None}
        ],
    },
}

CONTACT = {
    "type": "letsgo:contact",
    "payload": {
        "email": "ada@example.com",
        "name": "Ada",
        "message": "hello",
        "timestamp": "2026-11-26T08:00:00.000Z",
        "query": {"plan": "business"},
        "tenantId": "ten-1",
        "identityId": "ide-1",
    },
}

STRIPE_EVENT = {
    "id": "evt_1",
    "object": "event",
    "type": "invoice.paid",
    "data": {"object": {"amount_paid": 4_200}},
    "stripeMode": "TEST",
}

STRIPE = {"type": "letsgo:stripe", "payload": STRIPE_EVENT}

NEW = {"type": "letsgo:tenant:new", "payload": {"tenant": TENANT}}

DELETED = {
    "type": "letsgo:tenant:deleted",
    "payload": {
        "tenant": {**TENANT, "deletedAt": "2026-11-27T08:00:00.000Z", "deletedBy": IDENTITY},
        "cancelledPlanId": "business",
    },
}

MESSAGES: list[tuple[type[Message[Any]], dict[str, Any]]] = [
    (ContactMessage, CONTACT),
    (StripeMessage, STRIPE),
    (TenantNewMessage, NEW),
    (TenantDeletedMessage, DELETED),
]


@pytest.mark.parametrize(("model", "sent"), MESSAGES)
def test_a_handler_gets_what_letsgo_sends(model: type[Message[Any]], sent: dict[str, Any]) -> None:
    client, seen = Client("memory://letsgo-messages"), list[Message[Any]]()
    worker = Worker(client=client)
    worker.handler(model)(seen.append)

    client.enqueue(sent)
    worker.run(burst=True)

    (message,) = seen
    assert isinstance(message, model)
    # Sent again it is what it was, with what the model does not know.
    body = message.model_dump_json(by_alias=True, exclude_unset=True)
    assert json.loads(body) == sent


def test_names_are_pythons() -> None:
    tenant = TenantDeletedMessage.model_validate(DELETED).payload.tenant

    assert tenant.display_name == "Ada's"
    assert tenant.deleted_by is not None
    assert tenant.deleted_by.sub == "auth0|1"
    assert tenant.plan.stripe_subscription is not None
    assert tenant.plan.stripe_subscription.card is not None
    assert tenant.plan.stripe_subscription.card.last4 == "4242"
    assert tenant.model_extra == {"category": "letsgo-tenant", "key": "ten-1"}


def test_every_field_is_read_by_its_name() -> None:
    """A handler that reads one would else find out in production what it is called."""
    deleted = TenantDeletedMessage.model_validate(DELETED).payload
    contact = ContactMessage.model_validate(CONTACT).payload
    tenant, plan = deleted.tenant, deleted.tenant.plan
    assert isinstance(deleted, DeletedTenant)
    assert isinstance(TenantNewMessage.model_validate(NEW).payload, NewTenant)
    assert isinstance(tenant, Tenant)
    assert isinstance(plan, Plan)
    assert isinstance(plan.stripe_subscription, StripeSubscription)
    assert isinstance(plan.stripe_subscription.card, Card)

    ada = Identity(iss="https://login.example.com/", sub="auth0|1")
    assert (tenant.tenant_id, tenant.created_by, tenant.updated_by) == ("ten-1", ada, ada)
    assert tenant.created_at == tenant.updated_at == "2026-11-26T08:00:00.000Z"
    assert (tenant.deleted_at, tenant.deleted_by) == ("2026-11-27T08:00:00.000Z", ada)
    assert deleted.cancelled_plan_id == plan.plan_id == "business"
    assert (plan.stripe_customer_id, plan.stripe_subscription.subscription_id) == ("cus_1", "sub_1")
    assert plan.stripe_subscription.status == "active"
    assert plan.stripe_subscription.current_period_end == "2026-12-26T08:00:00.000Z"
    assert plan.stripe_subscription.card.brand == "visa"
    assert plan.changes == (
        PlanChange(timestamp="2026-11-26T08:00:00.000Z", updated_by=ada, new_plan_id=None),
    )
    assert plan.changes[0].new_plan_id is None
    assert (contact.tenant_id, contact.identity_id) == ("ten-1", "ide-1")


def test_a_contact_form_may_lack_what_letsgos_api_does_not_ask_for() -> None:
    form = {"email": "ada@example.com", "name": "Ada", "message": "hello"}

    contact = ContactMessage.model_validate({"type": "letsgo:contact", "payload": form}).payload

    assert (contact.timestamp, contact.query) == (None, {})


class TestStripeEvents:
    @pytest.fixture
    def stripe(self) -> StripeEvents:
        return StripeEvents()

    def handle(self, stripe: StripeEvents, event_type: str = "invoice.paid") -> None:
        client = Client("memory://stripe-events")
        worker = Worker(client=client)
        worker.handler(StripeMessage)(stripe)
        client.enqueue({**STRIPE, "payload": {**STRIPE_EVENT, "type": event_type}})
        worker.run(burst=True)

    def test_an_event_goes_to_the_function_of_its_type(self, stripe: StripeEvents) -> None:
        paid: list[StripeEvent] = []
        others: list[StripeEvent] = []
        stripe.on("invoice.paid", "invoice.updated")(paid.append)
        stripe.default(others.append)

        for event_type in ("invoice.paid", "customer.created", "invoice.updated"):
            self.handle(stripe, event_type)

        assert [event.type for event in paid] == ["invoice.paid", "invoice.updated"]
        assert paid[0].object == {"amount_paid": 4_200}
        assert paid[0].stripe_mode == "TEST"
        assert [event.type for event in others] == ["customer.created"]

    def test_a_function_may_be_async(self, stripe: StripeEvents) -> None:
        seen: list[str] = []

        @stripe.on("invoice.paid")
        async def on_paid(event: StripeEvent) -> None:
            await asyncio.sleep(0)
            seen.append(event.type)

        self.handle(stripe)

        assert seen == ["invoice.paid"]

    def test_an_event_without_a_function_is_not_handled(self, stripe: StripeEvents) -> None:
        with pytest.raises(HandlerMissing, match=r"@stripe\.default"):
            stripe(StripeMessage.model_validate(STRIPE))

    def test_two_functions_for_one_event_are_refused(self, stripe: StripeEvents) -> None:
        stripe.on("invoice.paid")(print)
        stripe.default(print)

        with pytest.raises(SettingsInvalid, match=r"'invoice\.paid' has a function already"):
            stripe.on("invoice.paid")(print)
        with pytest.raises(SettingsInvalid, match="a default already"):
            stripe.default(print)
        with pytest.raises(SettingsInvalid, match="say which events"):
            stripe.on()
