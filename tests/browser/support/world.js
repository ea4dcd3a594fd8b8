// What there has to be before every page can be looked at: products, orders, and people who are signed in.

import { addProduct, administrator, bankHears, sampleProducts, shops, somebodyBuys } from "./shop.js";
import { expect, order, put, signUp, state, test as base } from "./story.js";

/** A story in a shop where all that is there. Afterwards no order is left that waits for somebody. */
export const test = base.extend({
  world: [
    async ({ browser }, use) => {
      const world = await prepare(browser);
      await use(world);
      await bankHears(new URL(world.challenge, shops[0]).href, "refuse");
    },
    { scope: "worker" },
  ],
});

/** Products in each state, made for this, or the shop's own sample where it is to look like a shop. */
async function goods(isSample) {
  if (!isSample) {
    const name = `Lantern ${"of the northern lighthouse keepers, ".repeat(4)}numbered`;
    return {
      product: await addProduct({ stock: 100 }),
      few: await addProduct({ stock: 3, price: 123456 }),
      soldOut: await addProduct({ stock: 0 }),
      long: await addProduct({ name, description: "Word ".repeat(400), price: 99999999 }),
    };
  }
  const sample = await sampleProducts();
  const [product, few, soldOut] = ["VINYL-001", "TICKET-FRONT", "LAMP-LAST"].map((sku) => sample[sku]);
  if (few?.available > 12) await somebodyBuys(few, few.available - 12);
  if (soldOut?.available) await somebodyBuys(soldOut, soldOut.available);
  return { product, few, soldOut };
}

/** Makes all that, with a browser that is not watched. */
export async function prepare(browser, { isSample = false } = {}) {
  const world = { ...(await goods(isSample)), orders: {}, people: { visitor: undefined } };
  /** Somebody does something in a new browser, which is kept as it is then. */
  const meet = async (name, does) => {
    const context = await browser.newContext({ baseURL: shops[0] });
    await does(await context.newPage());
    world.people[name] = await context.storageState();
    await context.close();
  };
  const fill = async (page) => {
    await put(page, world.product, 2);
    await put(page, world.few);
  };
  await meet("shopper", fill);
  await meet("newcomer", (page) => signUp(page));
  await meet("customer", async (page) => {
    await signUp(page);
    for (const [name, card] of [["confirmed"], ["declined", "tok_declined"], ["cancelled"], ["act", "tok_3ds"]]) {
      await order(page, world.product, card);
      world.orders[name] = new URL(page.url()).pathname;
      if (name !== "cancelled") continue;
      await page.locator("#cancel-open").click();
      await page.locator("#cancel-now").click();
      await expect(state(page)).toHaveAttribute("data-status", "CANCELLED");
    }
    world.challenge = await page.locator("#act").getAttribute("href");
    await fill(page);
  });
  await meet("administrator", async (page) => {
    await page.goto("/sign-in");
    await page.locator("#email").fill(administrator.email);
    await page.locator("#password").fill(administrator.password);
    await page.locator(".door [type=submit]").click();
    await expect(page.locator(".door")).toHaveCount(0);
  });
  return world;
}
