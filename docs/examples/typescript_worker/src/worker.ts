// A LetsGo worker, as a Lambda function behind an SQS queue: each message goes to its handler.

import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocument } from "@aws-sdk/lib-dynamodb";
import { Claim } from "./claims.js";
import type { Keys } from "./keys.js";
import { carried, parse, read, unseal } from "./opening.js";

export interface Message {
  type: string;
  payload: unknown;
}

interface Event {
  Records: { messageId: string; body: string; eventSourceARN: string }[];
}

export const handlers = new Map<unknown, (message: Message) => Promise<void>>([
  ["order:new", async (message) => console.log("a new order:", message.payload)],
]);

const db = DynamoDBDocument.from(new DynamoDBClient({}));
const table = process.env["CLAIMS_TABLE"] ?? "letsgo-claims";
const keys: Keys = {};

export async function handler(event: Event, context: { getRemainingTimeInMillis(): number }) {
  const seconds = context.getRemainingTimeInMillis() / 1000;
  const failures = event.Records.map(async ({ messageId, body, eventSourceARN }) => {
    try {
      const queue = eventSourceARN.split(":").slice(3).join(":"); // region, account and name
      await handle(body, queue, seconds);
      return [];
    } catch (error) {
      console.error(`message ${messageId} failed: ${error}`);
      return [{ itemIdentifier: messageId }]; // SQS delivers it again
    }
  });
  return { batchItemFailures: (await Promise.all(failures)).flat() };
}

async function handle(body: string, queue: string, seconds: number): Promise<void> {
  const sealed = read(body, keys);
  if (!sealed) return dispatch(body);
  const ticket = sealed.claimCheck;
  if ("data" in ticket) return dispatch(unseal(sealed, carried(ticket), keys));
  const claim = new Claim(db, table, ticket, queue);
  if (!(await claim.acquire(seconds))) return claim.remove(); // a duplicate
  try {
    await dispatch(unseal(sealed, await claim.read(), keys));
  } catch (error) {
    await claim.release();
    throw error;
  }
  await claim.complete();
}

async function dispatch(body: string): Promise<void> {
  const { type, payload } = parse(body);
  const handler = handlers.get(type);
  if (typeof type !== "string" || !handler) throw new Error(`type ${type} has no handler`);
  await handler({ type, payload });
}
