// The shop under test: where it is, and what stories do with its API beside the browser.

function given(name, what) {
  const value = process.env[name];
  if (!value) throw new Error(`${name} is not set. It has to be ${what}; see playwright.config.js.`);
  return value;
}

/** Base addresses of the servers of one shop. Where there are two, first and last are different ones. */
export const shops = given("HOLDFAST_TEST_SHOPS", "the shop's addresses, with commas between them")
  .split(",")
  .map((address) => address.trim().replace(/\/$/, ""));

export const administrator = {
  token: given("HOLDFAST_TEST_ADMIN_TOKEN", "an administrator's token for the API"),
  email: given("HOLDFAST_TEST_ADMIN_EMAIL", "an administrator's address"),
  password: given("HOLDFAST_TEST_ADMIN_PASSWORD", "the administrator's password"),
};

export const PASSWORD = "a password for stories";

/** A word that no other story has, nor an earlier run. */
export function unique() {
  return Date.now().toString(36) + Math.random().toString(36).slice(2, 7);
}

async function call(path, { method = "POST", token, key, body, shop = shops[0] } = {}) {
  const headers = {};
  if (token) headers.Authorization = `Bearer ${token}`;
  if (key) headers["Idempotency-Key"] = key;
  if (body) headers["Content-Type"] = "application/json";
  const answer = await fetch(shop + path, { method, headers, body: body && JSON.stringify(body) });
  const told = await answer.json();
  if (!answer.ok) throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(told)}`);
  return told;
}

/** Adds a product that only one story knows. */
export async function addProduct({ name, stock = 10, price = 1250, currency = "EUR", ...rest } = {}) {
  const word = unique();
  return call("/api/v1/admin/products", {
    token: administrator.token,
    body: {
      sku: `STORY-${word}`,
      name: name ?? `Lantern ${word}`,
      description: "Made for one story.",
      category: "stories",
      price: { amount: price, currency },
      stock,
      ...rest,
    },
  });
}

export async function restock({ id }, delta) {
  return call(`/api/v1/admin/products/${id}/stock`, {
    token: administrator.token,
    key: unique(),
    body: { delta, reason: "restock" },
  });
}

/** The products of the shop's own sample, by article. */
export async function sampleProducts() {
  const { items } = await call("/api/v1/products?limit=100", { method: "GET" });
  return Object.fromEntries(items.map((product) => [product.sku, product]));
}

/** Somebody else buys, without a browser. */
export async function somebodyBuys({ id }, quantity) {
  const account = { email: `${unique()}@example.com`, password: PASSWORD };
  const { access_token: token } = await call("/api/v1/auth/register", { body: account });
  const lines = [{ product_id: id, quantity }];
  const order = await call("/api/v1/orders", { token, key: unique(), body: { lines } });
  if (order.status !== "CONFIRMED") throw new Error(`the other customer's order is ${order.status}`);
}

/** How many units can be had, as any of the servers says. */
export async function available({ id }, shop = shops[0]) {
  return (await call(`/api/v1/products/${id}`, { method: "GET", shop })).available;
}

/** What a customer of the simulated gateway tells their bank. */
export async function bankHears(address, answer) {
  const told = await fetch(`${address}?answer=${answer}`, { method: "POST" });
  if (!told.ok) throw new Error(`the challenge was answered ${told.status}`);
}
