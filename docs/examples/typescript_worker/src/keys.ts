// Encrypted and signed messages; a worker without keys does without this file.

import { createDecipheriv, createHmac, hkdfSync, timingSafeEqual } from "node:crypto";
import type { Sealed } from "./opening.js";

// A worker that has keys refuses messages that were sealed without.
export interface Keys {
  data?: Record<string, Buffer>; // 32 bytes each, by their names in tickets
  signing?: string;
}

export function decrypt(
  { type, claimCheck: ticket }: Sealed,
  { key, tag }: { key: string; tag: string },
  bytes: Uint8Array,
  dataKeys: Record<string, Buffer>,
): Uint8Array {
  const dataKey = dataKeys[key];
  if (!dataKey) throw new Error(`it is encrypted with ${key}, which is not here`);
  const [place, id, store] =
    "id" in ticket ? ["stored", ticket.id, ticket.store] : ["carried", ticket.nonce ?? ""];
  const whose = ticket.shared ? `${place} shared` : place;
  const lines = [whose, id, ticket.encoding, ticket.size, store, type];
  const info = "letsgo-claimcheck/1 AES-256-GCM";
  const messageKey = Buffer.from(hkdfSync("sha256", dataKey, id, info, 32));
  const cipher = createDecipheriv("aes-256-gcm", messageKey, Buffer.alloc(12));
  cipher.setAAD(Buffer.from(lines.filter((line) => line !== undefined).join("\n")));
  cipher.setAuthTag(Buffer.from(tag, "hex"));
  return Buffer.concat([cipher.update(bytes), cipher.final()]);
}

export function isSigned({ type, claimCheck: ticket }: Sealed, key: string): boolean {
  const fields = Object.entries(ticket)
    .filter(([name, value]) => name !== "data" && name !== "sig" && value !== null)
    .sort(([a], [b]) => (a < b ? -1 : 1));
  const signed = JSON.stringify([type ?? null, fields]);
  const wanted = createHmac("sha256", key).update(signed).digest();
  const given = Buffer.from(ticket.sig ?? "", "hex");
  return given.length === wanted.length && timingSafeEqual(given, wanted);
}
