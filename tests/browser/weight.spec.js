// Pages for slow networks: little to load, nothing that waits for something else, and what is needed to buy is in the
// first answer.

import { addProduct } from "./support/shop.js";
import { open, pages } from "./support/pages.js";
import { expect, state } from "./support/story.js";
import { test } from "./support/world.js";

/** Everything that a first visit to a page loads, as it comes over the network. */
const WEIGHT_MAX_BYTES = 60_000;

/** Notes what a page loads from now on: address, bytes as they come, and who asked for it. */
async function weigh(page) {
  const loaded = new Map();
  const devtools = await page.context().newCDPSession(page);
  devtools.on("Network.requestWillBeSent", ({ requestId, request, initiator, type }) => {
    loaded.set(requestId, { address: request.url, initiator: initiator.type, type, bytes: 0 });
  });
  devtools.on("Network.loadingFinished", ({ requestId, encodedDataLength }) => {
    loaded.get(requestId).bytes = encodedDataLength;
  });
  await devtools.send("Network.enable");
  return () => [...loaded.values()];
}

test("every page is light", async ({ visit, world }) => {
  test.setTimeout(120_000);
  const weights = {};
  for (const [name, { as, at, answers }] of Object.entries(pages)) {
    const page = await visit({ storageState: world.people[as], answers: [answers] });
    const loaded = await weigh(page);
    await page.goto(at(world));
    weights[name] = loaded().reduce((sum, { bytes }) => sum + bytes, 0);
    await page.close();
  }
  console.log(`     bytes: ${Object.entries(weights).map(([name, bytes]) => `${name} ${bytes}`).join(", ")}`);
  expect(Object.entries(weights).filter(([, bytes]) => bytes > WEIGHT_MAX_BYTES)).toEqual([]);
  expect(Math.min(...Object.values(weights)), "weighing works").toBeGreaterThan(300);
});

test("nothing on a product's page waits for anything but its HTML", async ({ visit, world }) => {
  const page = await visit();
  const loaded = await weigh(page);
  await open(page, pages.product, world);
  await expect(page.locator(".pulse")).toBeVisible();
  const [html, ...rest] = loaded();
  expect(html.type).toBe("Document");
  // The stream is the script's, and only tells what is new; the browser itself wants an icon for its window.
  const own = ["EventSource", "Other"];
  expect(rest.filter(({ initiator, type }) => initiator !== "parser" && !own.includes(type))).toEqual([]);
  expect(rest.filter(({ type }) => type === "Stylesheet")).toHaveLength(1);
  await expect(page.locator("script:not([type=module], [async], [defer])")).toHaveCount(0);
});

test("whoever gets nothing but the HTML can buy", async ({ visit, world }) => {
  const product = await addProduct({ stock: 5 });
  const page = await visit({ storageState: world.people.newcomer });
  await page.route("**", (route) => {
    return route.request().isNavigationRequest() ? route.continue() : route.abort("aborted");
  });
  await page.goto(`/products/${product.id}`);
  await page.getByRole("button", { name: "Buy now" }).click();
  await page.getByRole("button", { name: "Pay €12.50" }).click();
  await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
});
