// A claim in a DynamoDB table: its contents, and the record that has one delivery handle it.

import { randomBytes } from "node:crypto";
import { ConditionalCheckFailedException } from "@aws-sdk/client-dynamodb";
import type { DynamoDBDocument } from "@aws-sdk/lib-dynamodb";
import type { StoredTicket } from "./opening.js";

const RECORD_SECONDS = 30 * 24 * 3600;

export class Claim {
  private readonly leaseId = randomBytes(18).toString("base64url");

  constructor(
    private readonly db: DynamoDBDocument,
    private readonly table: string,
    private readonly ticket: StoredTicket,
    private readonly queue: string,
  ) {}

  // Whether the claim is ours now; false if it was handled before.
  async acquire(seconds: number): Promise<boolean> {
    const now = Date.now() / 1000; // the clocks of all workers must agree
    const state = await this.change(
      "SET #state = if_not_exists(#state, :leased), lease_id = :lease_id, " +
        "lease_until = :until, expires_at = :expires_at",
      // Ours: the SDK writes again where an answer was lost.
      "attribute_not_exists(id) OR " +
        "(#state = :leased AND (lease_until <= :now OR lease_id = :lease_id))",
      { ":leased": "leased", ":now": now, ":until": now + seconds },
    );
    if (state && state !== "done") throw new Error(`${this} is ${state}, by another delivery`);
    return !state;
  }

  // All parts, one behind the other.
  async read(): Promise<Uint8Array> {
    const read = async (Key: { id: string }): Promise<Uint8Array> => {
      const { Item } = await this.db.get({ TableName: this.table, Key, ConsistentRead: true });
      if (Item) return Item["data"];
      const where = `the sender's store is ${this.ticket.store}, and this is table ${this.table}`;
      throw new Error(`${this} is missing, or a part of it (${where})`);
    };
    return Buffer.concat(await Promise.all(this.parts.map(read)));
  }

  // The work is done. The receipt tells a duplicate from a loss, so it comes first.
  async complete(): Promise<void> {
    const state = await this.change(
      "SET #state = :done, lease_id = :lease_id, expires_at = :expires_at REMOVE lease_until",
      "attribute_not_exists(id) OR lease_id = :lease_id",
      { ":done": "done" },
    );
    if (state) throw new Error(`${this} is ${state}, by another delivery`);
    await this.remove();
  }

  // The work failed: the claim is back.
  async release(): Promise<void> {
    await unlessRefused(() =>
      this.db.delete({
        ...this.record,
        ConditionExpression: "#state = :leased AND lease_id = :lease_id",
        ExpressionAttributeValues: { ":leased": "leased", ":lease_id": this.leaseId },
      }),
    );
  }

  // Other queues may need the contents of a shared claim, which expire.
  async remove(): Promise<void> {
    if (this.ticket.shared) return;
    await Promise.all(this.parts.map((Key) => this.db.delete({ TableName: this.table, Key })));
  }

  toString(): string {
    return `claim ${this.ticket.id}`;
  }

  // Changes the record on a condition; the state of the record that is in the way, if one is.
  private change(change: string, condition: string, values: Record<string, string | number>) {
    const expiresAt = Math.floor(Date.now() / 1000) + RECORD_SECONDS;
    return unlessRefused(() =>
      this.db.update({
        ...this.record,
        UpdateExpression: change,
        ConditionExpression: condition,
        ExpressionAttributeValues: {
          ...values,
          ":lease_id": this.leaseId,
          ":expires_at": expiresAt,
        },
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      }),
    );
  }

  private get record() {
    const consumer = this.ticket.shared ? this.queue : "";
    return {
      TableName: this.table,
      Key: { id: `${this.ticket.id}@${consumer}` },
      ExpressionAttributeNames: { "#state": "state" },
    };
  }

  private get parts(): { id: string }[] {
    return [...Array(this.ticket.parts).keys()].map((part) => ({ id: `${this.ticket.id}/${part}` }));
  }
}

async function unlessRefused(write: () => Promise<unknown>): Promise<string | undefined> {
  try {
    await write();
    return undefined;
  } catch (error) {
    if (!(error instanceof ConditionalCheckFailedException)) throw error;
    return error.Item?.["state"]?.S ?? "changed";
  }
}
