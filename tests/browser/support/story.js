// What every story begins with: browsers whose pages are watched, and a story in which a page misbehaves fails.

import { test as base, expect } from "@playwright/test";
import { PASSWORD, shops, unique } from "./shop.js";

export { expect };

export const test = base.extend({
  /**
   * Opens a browser of its own: `visit({ shop, answers, ...options of the browser's context })`. `answers` are the
   * statuses from 400 on that this visitor may be given.
   */
  visit: async ({ browser }, use) => {
    const contexts = [];
    const faults = [];
    await use(async ({ shop = shops[0], answers = [], ...options } = {}) => {
      const context = await browser.newContext({ baseURL: shop, ...options });
      watch(context, answers, (fault) => faults.push(fault));
      contexts.push(context);
      return context.newPage();
    });
    for (const context of contexts) await context.close();
    expect(faults, "no page misbehaves").toEqual([]);
  },
  page: async ({ visit }, use) => use(await visit()),
});

function watch(context, answers, fault) {
  context.on("weberror", (error) => fault(`error in a script: ${error.error().message}`));
  context.on("dialog", (dialog) => {
    fault(`a dialog opened: ${dialog.message()}`);
    return dialog.dismiss();
  });
  // Among them what the content security policy has refused. Answers with an error are counted below.
  context.on("console", (message) => {
    const isFault = ["error", "warning"].includes(message.type());
    if (isFault && !message.text().startsWith("Failed to load resource")) fault(`console: ${message.text()}`);
  });
  context.on("request", (request) => {
    const { origin } = new URL(request.url());
    if (!shops.includes(origin)) fault(`asks somebody else: ${request.url()}`);
  });
  context.on("requestfailed", (request) => {
    const error = request.failure().errorText;
    // What the browser itself gave up, as it does with a stream when its page is left.
    if (error !== "net::ERR_ABORTED") fault(`${request.method()} ${request.url()}: ${error}`);
  });
  context.on("response", (response) => {
    const status = response.status();
    if (status >= 400 && !answers.includes(status)) fault(`${status} ${response.url()}`);
  });
}

/** Opens an account on the page that is open, or on its own one. */
export async function signUp(page) {
  if (!new URL(page.url(), shops[0]).pathname.startsWith("/sign-up")) await page.goto("/sign-up");
  const email = `${unique()}@example.com`;
  await page.locator("#email").fill(email);
  await page.locator("#password").fill(PASSWORD);
  await page.locator(".door [type=submit]").click();
  await expect(page.locator(".door")).toHaveCount(0);
  return email;
}

/** Puts units of a product into the basket. */
export async function put(page, { id }, quantity = 1) {
  await page.goto(`/products/${id}`);
  await page.locator("#quantity").fill(`${quantity}`);
  await page.locator(".buy [type=submit]:not([name])").click();
  await page.waitForURL("**/basket?notice=added");
}

/** Pays for what is in the basket. */
export async function pay(page, card = "tok_ok") {
  await page.goto("/checkout");
  await page.locator(`[for=card-${card}]`).click();
  await page.locator("#pay [type=submit]").click();
}

/** Buys one product with an account that is there already, and is on the order's page. */
export async function order(page, product, card) {
  await put(page, product);
  await pay(page, card);
  await page.waitForURL("**/orders/*");
}

/** What shows where the order on this page stands, as its `data-status`. */
export function state(page) {
  return page.locator("#order");
}
