// Opens bodies from the queue. ../../../wire-format/README.md says what is in one.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";
import { Ajv2020 } from "ajv/dist/2020.js";
import { decompress } from "fzstd";
import { decrypt, isSigned, type Keys } from "./keys.js";

// In a project of your own: a copy of the file.
const SCHEMA = new URL("../../../wire-format/message.schema.json", import.meta.url);
const MAX_SIZE = 64 * 1024 * 1024;
const MIN_PART_BYTES = 65_536;

interface Sealing {
  encoding: "zstd" | "identity";
  size: number;
  sha256: string;
  shared?: boolean | null;
  encryption?: { algorithm: string; key: string; tag: string } | null;
  sig?: string | null;
}
export type CarriedTicket = Sealing & { data: string; nonce?: string | null };
export type StoredTicket = Sealing & { id: string; parts: number; stored: number; store: string };
export interface Sealed<Ticket = CarriedTicket | StoredTicket> {
  type?: string;
  claimCheck: Ticket;
}

const ajv = new Ajv2020({ strictTypes: false });
const fits = ajv.compile<Sealed>(JSON.parse(readFileSync(SCHEMA, "utf8")));

// The sealed message in a body; undefined for a body that is the message itself.
export function read(body: string, keys: Keys): Sealed | undefined {
  const fields = parse(body);
  const names = Object.keys(fields).filter((name) => name !== "type");
  const sealed = names.join() === "claimCheck" ? fields : undefined;
  if (sealed && !fits(sealed)) {
    throw new Error(`its ticket is refused (${fits.errors?.[0]?.instancePath})`);
  }
  const ticket = sealed?.claimCheck;
  if (keys.data && !ticket?.encryption) throw new Error("it is not encrypted");
  if (!sealed || !ticket) return undefined;
  if (keys.signing && !isSigned(sealed, keys.signing)) throw new Error("it is not signed");
  const { parts, stored } = { parts: 1, stored: 1, ...ticket };
  const mostParts = Math.ceil(stored / MIN_PART_BYTES);
  if (ticket.size > MAX_SIZE || stored > ticket.size || parts > mostParts) {
    throw new Error("its ticket claims too much");
  }
  return sealed;
}

// The body that was sealed, of the bytes that its ticket carries, or that were stored.
export function unseal(sealed: Sealed, bytes: Uint8Array, keys: Keys): string {
  const { sha256, encryption, encoding, size } = sealed.claimCheck;
  if (createHash("sha256").update(bytes).digest("hex") !== sha256) {
    throw new Error("its bytes are not those that were sealed");
  }
  if (encryption) bytes = decrypt(sealed, encryption, bytes, keys.data ?? {});
  if (encoding === "zstd") {
    if (statedSize(bytes) !== size) throw new Error("its frame states another size");
    bytes = decompress(bytes, new Uint8Array(size));
  }
  if (bytes.length !== size) throw new Error("it has another size than its ticket says");
  const body = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  const { type } = parse(body);
  if ((typeof type === "string" ? type : undefined) !== sealed.type) {
    throw new Error("it has another type inside");
  }
  return body;
}

// The bytes in a ticket that carries them.
export function carried({ data }: CarriedTicket): Uint8Array {
  const bytes = Buffer.from(data, "base64");
  if (bytes.toString("base64") !== data) throw new Error("its data is not base64");
  return bytes;
}

// What the header of a zstd frame says of its content; undefined if it says nothing.
function statedSize(frame: Uint8Array): number | undefined {
  const view = Buffer.from(frame.buffer, frame.byteOffset, 18);
  const flags = view.readUInt8(4);
  const isSingle = (flags >> 5) & 1;
  const at = 6 - isSingle + [0, 1, 2, 4][flags & 3]!;
  const bytes = [isSingle, 2, 4, 8][flags >> 6]!;
  if (bytes === 0) return undefined;
  return view.readUIntLE(at, Math.min(bytes, 6)) + (bytes === 2 ? 256 : 0);
}

// The fields of a body; none if it is no JSON object. What JSON.parse says would quote the payload.
export function parse(body: string): Record<string, unknown> {
  try {
    return Object(JSON.parse(body));
  } catch {
    return {};
  }
}
