// Calls of the service. The key is kept for this tab alone, and goes nowhere but into the Authorization header.

const KEY = "doorbuster-key";
const PATIENCE_MILLIS = 10_000;

export const key = {
  get: () => sessionStorage.getItem(KEY),
  set: (text) => sessionStorage.setItem(KEY, text),
  forget: () => sessionStorage.removeItem(KEY),
};

/** The service said no: `problem` is its document, `retryAfter` the seconds that it asks to wait. */
export class Refused extends Error {
  constructor(status, problem, retryAfter) {
    super(problem.detail || problem.title);
    this.status = status;
    this.problem = problem;
    this.retryAfter = retryAfter;
  }
}

/** Nothing that is this service answered. */
export class Away extends Error {}

/** `ifMatch`: the version that the change is meant for. `versioned`: answers `{ document, version }`. */
export async function call(method, path, { body, idempotencyKey, ifMatch, versioned = false } = {}) {
  const headers = { Accept: "application/json" };
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = method === "PATCH" ? "application/merge-patch+json" : "application/json";
  if (idempotencyKey) headers["Idempotency-Key"] = idempotencyKey;
  if (ifMatch) headers["If-Match"] = ifMatch;
  let answer, document;
  try {
    answer = await fetch(path, {
      method,
      headers,
      body: body === undefined ? undefined : JSON.stringify(body),
      cache: "no-store",
      credentials: "same-origin",
      redirect: "error",
      signal: AbortSignal.timeout(PATIENCE_MILLIS),
    });
    document = await answer.json();
  } catch (error) {
    throw new Away(error.message);
  }
  if (answer.ok) return versioned ? { document, version: answer.headers.get("ETag") } : document;
  if (!document?.code) throw new Away(`${answer.status} from something that is not this service`);
  const seconds = Number.parseInt(answer.headers.get("Retry-After") ?? "", 10);
  throw new Refused(answer.status, document, Number.isNaN(seconds) ? null : seconds);
}

export const salePath = (sale, rest = "") => `v1/sales/${encodeURIComponent(sale)}${rest}`;

/** A key for one intention: repeating it is safe. */
export function intention() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
