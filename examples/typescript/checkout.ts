/** A checkout that reserves, charges and confirms, and handles late and refused payments. See examples/README.md. */

import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";

const API = process.env.API_URL ?? "http://127.0.0.1:8080";
const HOLD_SECONDS = 2;
const ATTEMPTS = 5;
const TIMEOUT_MS = 5000;
const AUTHORIZATION: Record<string, string> = process.env.API_KEY
  ? { authorization: `Bearer ${process.env.API_KEY}` }
  : {};

type Item = { sku: string; stock: number; available: number; held: number; confirmed: number };
type Sale = { id: string; items: Item[] };
type Reservation = { id: string; state: string; expires_at: string };
type Problem = { status: number; code: string; detail: string };
type Event = { type: string; cursor: string; data: { sale?: string } };

/** A business answer: sold out, limit reached, hold expired. A retry would get the same one. */
class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(problem.code);
  }
}

/** The API, with retries. A repeated call carries the same idempotency key, so it takes effect once. */
class Doorbuster {
  async call<T>(method: string, path: string, body?: unknown, key?: string): Promise<T> {
    const headers: Record<string, string> = { ...AUTHORIZATION, "content-type": "application/json" };
    if (key !== undefined) headers["idempotency-key"] = key;
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      let wait = 0;
      try {
        const answer = await fetch(API + path, {
          method,
          headers,
          body: body === undefined ? null : JSON.stringify(body),
          signal: AbortSignal.timeout(TIMEOUT_MS),
        });
        if (answer.ok) return (await answer.json()) as T;
        const problem = (await answer.json()) as Problem;
        if (answer.status !== 429 && answer.status !== 503) throw new Refused(problem);
        wait = 1000 * Number(answer.headers.get("retry-after") ?? 0);
      } catch (error) {
        if (error instanceof Refused) throw error;
        // No answer, so the outcome is unknown. Repeat with the same key.
      }
      // Full jitter, so that callers that failed together do not retry together.
      await sleep(Math.max(wait, Math.random() * Math.min(1000, 50 * 2 ** attempt)));
    }
    throw new Error(`${method} ${path}: no answer after ${ATTEMPTS} attempts`);
  }

  putSale(sale: string, units: number): Promise<Sale> {
    return this.call("PUT", `/v1/sales/${sale}`, {
      name: "Console drop",
      opens_at: "2026-01-01T00:00:00Z",
      closes_at: "2036-01-01T00:00:00Z",
      hold_seconds: HOLD_SECONDS,
      max_extensions: 1,
      customer_limit: 1,
      items: [{ sku: "console", initial_stock: units, price: { amount: 39900, currency: "EUR" } }],
    });
  }

  reserve(sale: string, customer: string, attempt: string): Promise<Reservation> {
    const body = { customer, lines: [{ sku: "console", quantity: 1 }] };
    return this.call("POST", `/v1/sales/${sale}/reservations`, body, attempt);
  }

  extend(reservation: string): Promise<Reservation> {
    return this.call("POST", `/v1/reservations/${reservation}/extend`, { hold_seconds: 2 * HOLD_SECONDS });
  }

  confirm(reservation: string, order: string): Promise<Reservation> {
    return this.call("POST", `/v1/reservations/${reservation}/confirm`, { reference: order });
  }

  release(reservation: string, reason: string): Promise<Reservation> {
    return this.call("POST", `/v1/reservations/${reservation}/release`, { reason });
  }
}

/** How a customer's bank behaves. `seconds` null means that it refuses; `pending`, that it reports a longer wait at once. */
type Bank = { seconds: number | null; pending?: boolean };

/** A simulated payment provider. */
class Payments {
  readonly charged = new Set<string>();
  readonly refunded = new Set<string>();

  async charge(bank: Bank, payment: string): Promise<boolean> {
    if (bank.seconds === null) return false;
    await sleep(1000 * bank.seconds);
    this.charged.add(payment);
    return true;
  }

  refund(payment: string): void {
    this.refunded.add(payment);
  }

  kept(): number {
    return [...this.charged].filter((payment) => !this.refunded.has(payment)).length;
  }
}

/** Takes one customer through the checkout, and returns the result. */
async function buy(api: Doorbuster, payments: Payments, sale: string, customer: string, bank: Bank): Promise<string> {
  // One key for each attempt to buy, also when the request is repeated.
  const attempt = `${customer}-${randomUUID()}`;
  let held: Reservation;
  try {
    held = await api.reserve(sale, customer, attempt);
  } catch (error) {
    if (error instanceof Refused) return error.problem.code;
    throw error;
  }
  // As if the answer had been lost: the same request again gives the same reservation, not a second one.
  assert.equal((await api.reserve(sale, customer, attempt)).id, held.id);

  const order = `order-${customer}`;
  if (bank.pending) await api.extend(held.id); // before the hold expires: afterwards it is too late
  if (!(await payments.charge(bank, held.id))) {
    await api.release(held.id, "payment refused");
    return "payment refused";
  }
  try {
    await api.confirm(held.id, order);
    await api.confirm(held.id, order); // the provider repeats its callback: the same answer
    return "sold";
  } catch (error) {
    const late = error instanceof Refused && ["reservation_expired", "already_released"].includes(error.problem.code);
    if (!late) throw error;
  }
  // The payment came too late, and another customer may have the units: reserve others, with a new key.
  try {
    const again = await api.reserve(sale, customer, `${customer}-${randomUUID()}`);
    await api.confirm(again.id, order);
    return "sold late";
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    payments.refund(held.id);
    return "refunded";
  }
}

/** Reads the feed of events. When its connection breaks, it continues after the last event. */
class Follower {
  readonly told: string[] = [];
  private cursor: string | undefined;
  private breaks = 1;
  private stopped = false;
  private connection = new AbortController();

  constructor(private readonly sale: string) {}

  /** Resolves when the feed has started. */
  start(): Promise<void> {
    return new Promise((begun, failed) => {
      void (async () => {
        while (!this.stopped) {
          await this.read(begun).catch(() => sleep(100));
        }
        failed(new Error("the feed did not begin"));
      })();
    });
  }

  stop(): void {
    this.stopped = true;
    this.connection.abort();
  }

  private async read(begun: () => void): Promise<void> {
    const after = this.cursor === undefined ? "" : `?after=${encodeURIComponent(this.cursor)}`;
    this.connection = new AbortController();
    const answer = await fetch(`${API}/v1/events${after}`, {
      headers: { ...AUTHORIZATION, accept: "application/x-ndjson" },
      signal: this.connection.signal,
    });
    if (!answer.ok || answer.body === null) throw new Error(`the feed answers ${answer.status}`);
    this.cursor ??= answer.headers.get("event-cursor") ?? undefined;
    begun();
    let rest = "";
    for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split("\n");
      rest = lines.pop() ?? "";
      for (const line of lines) {
        if (line === "") continue; // a heartbeat
        const event = JSON.parse(line) as Event;
        if (event.type === "stream.ended") return;
        // Handle the event first, then save the cursor. A real service does both in one transaction.
        if (event.data.sale === this.sale) this.told.push(event.type);
        this.cursor = event.cursor;
        if (this.breaks > 0) {
          this.breaks -= 1;
          this.connection.abort(); // simulates a broken connection
          return;
        }
      }
    }
  }

  count(kind: string): number {
    return this.told.filter((each) => each === kind).length;
  }

  async waitFor(kind: string, count: number): Promise<void> {
    for (let waited = 0; this.count(kind) < count; waited += 50) {
      assert(waited < 30_000, `waited in vain for ${count} ${kind}: ${this.told}`);
      await sleep(50);
    }
  }
}

const SLOW = HOLD_SECONDS + 0.5;
const LATE = HOLD_SECONDS + 3;

const api = new Doorbuster();
const sale = `console-drop-${randomUUID().slice(0, 8)}`;
await api.putSale(sale, 4);
const follower = new Follower(sale);
await follower.start();

const payments = new Payments();
const ends: Record<string, string> = {};
const go = async (customer: string, bank: Bank) => {
  ends[customer] = await buy(api, payments, sale, customer, bank);
};
await go("ann", { seconds: 0.1 });
await go("bob", { seconds: null });
await go("cem", { seconds: SLOW, pending: true });
await go("dora", { seconds: LATE });
assert.deepEqual(Object.values(ends), ["sold", "payment refused", "sold", "sold late"]);

// One unit is left. Eve's payment is late, and meanwhile Finn takes the unit.
const eve = go("eve", { seconds: LATE });
await follower.waitFor("reservation.expired", 2); // dora's, and now eve's
await go("finn", { seconds: 0.1 });
await eve;
await go("gwen", { seconds: 0.1 });
assert.deepEqual([ends.finn, ends.eve, ends.gwen], ["sold", "refunded", "sold_out"]);

const [item] = (await api.call<Sale>("GET", `/v1/sales/${sale}`)).items;
assert(item !== undefined);
assert.equal(item.confirmed, 4);
assert.equal(payments.kept(), 4);
assert.equal(item.stock, item.available + item.held + item.confirmed);
await follower.waitFor("reservation.confirmed", 4);
assert.equal(follower.count("reservation.confirmed"), 4);
follower.stop();
for (const [customer, end] of Object.entries(ends)) console.log(customer.padEnd(5), end);
console.log(`${item.confirmed} units sold, ${payments.kept()} payments kept, ${payments.refunded.size} refunded`);
