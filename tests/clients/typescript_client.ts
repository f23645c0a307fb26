/**
 * Calls every operation through openapi-fetch with the types that were generated from `/schema`.
 *
 * Run with the address and the key; prints the requests made as JSON. Type-checked with tsc --strict.
 */
import createClient from "openapi-fetch";
import type { components, paths } from "./schema.js";

const [address, key] = process.argv.slice(2);
const requested: string[] = [];
const client = createClient<paths>({ baseUrl: address, headers: { "X-API-Key": key } });
client.use({
  onRequest({ request }) {
    requested.push(`${request.method} ${new URL(request.url).pathname}`);
  },
});

/** The documented answer; a problem ends the run. */
async function good<T>(answer: Promise<{ data?: T; error?: unknown; response: Response }>): Promise<T> {
  const { data, error, response } = await answer;
  if (data === undefined) throw new Error(`${response.status} ${response.url} ${JSON.stringify(error)}`);
  return data;
}

function check(holds: boolean, what: string): void {
  if (!holds) throw new Error(what);
}

const record: components["schemas"]["CustomerRecord"] = {
  customer_id: "typescript-1", signed_up_on: "2024-05-02", age: 41, recency_days: 12, orders: 18,
  total_spend: 1450.0, average_basket: 80.5, returns_share: 0.05, discount_share: 0.1,
  newsletter: true, channel: "web", region: "North",
};
const kmeans = { model_type: "kmeans" as const };
const dbscan = { model_type: "dbscan" as const };

check((await good(client.GET("/"))).status === "ok", "it serves");
check((await good(client.GET("/healthz"))).status === "alive", "it lives");
check((await good(client.GET("/readyz"))).status === "ready", "it is ready");
const token = await good(client.POST("/auth/token", { body: { scopes: ["models:read"] } }));
const bearer = createClient<paths>({
  baseUrl: address,
  headers: { Authorization: `Bearer ${token.access_token}` },
});
check((await good(bearer.GET("/models"))).models.length === 2, "two models");
await good(client.GET("/models"));

const status = await good(client.GET("/model/status/{model_type}", { params: { path: kmeans } }));
const number = status.active.version;
await good(client.GET("/models/{model_type}/versions/{number}", { params: { path: { ...kmeans, number } } }));
const next = { params: { path: { ...kmeans, number: number + 1 } } };
const comparison = await good(client.GET("/models/{model_type}/versions/{number}/compare", next));
check(comparison.before === number, "compared with the active version");
await good(client.POST("/models/{model_type}/versions/{number}/activate", {
  ...next, body: { reason: "new", force: true },
}));
const back = await good(client.POST("/models/{model_type}/rollback", {
  params: { path: kmeans }, body: { reason: "back", version: number },
}));
check(back.version === number, "rolled back");
const queued = await good(client.POST("/models/{model_type}/train", {
  params: { path: dbscan }, body: { parameters: { eps: 1.5 } },
}));
const ofJob = { params: { path: { job_id: queued.id } } };
await good(client.GET("/jobs/{job_id}", ofJob));
await good(client.POST("/jobs/{job_id}/cancel", ofJob));
const once = { params: { ...ofJob.params, header: { "Idempotency-Key": "once" } } };
const again = await good(client.POST("/jobs/{job_id}/retry", once));
const same = await good(client.POST("/jobs/{job_id}/retry", once));
check(again.id === same.id, "retried once");
await good(client.POST("/jobs/{job_id}/cancel", { params: { path: { job_id: again.id } } }));

const predicted = await good(client.POST("/predict/{model_type}", {
  params: { path: kmeans, query: { explain: true } }, body: [record],
}));
check(predicted.predictions[0]?.customer_id === "typescript-1", "predicted");
const stored = await good(client.POST("/customers", { body: [{ customer_id: "typescript-1", orders: 19 }] }));
check(stored.n_updated === 1, "stored");
const ofCustomer = { params: { path: { customer_id: "typescript-1" } } };
check((await good(client.GET("/customers/{customer_id}", ofCustomer))).customer_id === "typescript-1", "read");
await good(client.DELETE("/customers/{customer_id}", ofCustomer));
const page = await good(client.GET("/segments/{model_type}", { params: { path: kmeans, query: { limit: 5 } } }));
check(page.results.length === 5, "a page of five");
await good(client.GET("/segments/{model_type}/profiles", { params: { path: kmeans } }));
await good(client.GET("/segments/{model_type}/changes", { params: { path: kmeans } }));
const table = await good(client.GET("/segments/{model_type}/export", {
  params: { path: kmeans, query: { format: "csv" } }, parseAs: "text",
}));
check(String(table).startsWith("customer_id,"), "a table");

const report = await good(client.POST("/monitor/drift", { params: { query: kmeans }, body: [record] }));
await good(client.GET("/monitor/drift"));
await good(client.GET("/monitor/drift/{report_id}", { params: { path: { report_id: report.id } } }));
await good(client.GET("/monitor/quality/{model_type}", { params: { path: kmeans } }));
const [first] = (await good(client.GET("/monitor/alerts"))).results;
if (first === undefined) throw new Error("an alert is open");
const ofAlert = { params: { path: { alert_id: first.id } } };
const note = { ...ofAlert, body: { note: "seen" } };
await good(client.GET("/monitor/alerts/{alert_id}", ofAlert));
await good(client.POST("/monitor/alerts/{alert_id}/acknowledge", note));
const until = new Date(Date.now() + 3_600_000).toISOString();
await good(client.POST("/monitor/alerts/{alert_id}/silence", { ...ofAlert, body: { until } }));
await good(client.POST("/monitor/alerts/{alert_id}/unsilence", note));
const resolved = await good(client.POST("/monitor/alerts/{alert_id}/resolve", note));
check(resolved.state === "resolved", "resolved");
const figures = await good(client.GET("/metrics", { parseAs: "text" }));
check(figures.includes("segmentation_"), "figures");
check((await good(client.GET("/audit/logs"))).results.length > 0, "entries");
const { error } = await client.GET("/models/{model_type}/versions/{number}", {
  params: { path: { ...kmeans, number: 999 } },
});
check(error?.code === "not-found", "a problem is typed");
console.log(JSON.stringify(requested));
