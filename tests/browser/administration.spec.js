// What administrators do in the browser, beside shoppers who see what comes of it.

import { addProduct, administrator, shops, somebodyBuys, unique } from "./support/shop.js";
import { expect, put, signUp, test } from "./support/story.js";

/** A page of somebody who looks after the shop. */
async function signIn(page) {
  await page.goto("/sign-in?back=%2Fadmin");
  await page.locator("#email").fill(administrator.email);
  await page.locator("#password").fill(administrator.password);
  await page.locator(".door [type=submit]").click();
  await expect(page.getByRole("heading", { level: 1, name: "Now" })).toBeVisible();
}

test("an administrator restocks, and the sold-out page comes alive", async ({ visit }) => {
  const product = await addProduct({ stock: 1 });
  await somebodyBuys(product, 1);
  const [admin, shopper] = [await visit({ shop: shops[0] }), await visit({ shop: shops.at(-1) })];
  await shopper.goto(`/products/${product.id}`);
  await expect(shopper.locator(".left")).toHaveText("Sold out");
  await expect(shopper.getByText("Live")).toBeVisible();
  await signIn(admin);
  await admin.goto(`/admin/products/${product.id}`);
  await admin.getByLabel("Units that come or go").fill("+25");
  await admin.getByLabel("Reason").fill("restock");
  // A double click is one change.
  await admin.getByRole("button", { name: "Change the stock" }).dblclick();
  await expect(admin.getByText("The stock is changed.")).toBeVisible();
  await expect(admin.locator(".stub .left")).toHaveText("25");
  await expect(admin.locator(".log li")).toHaveText([/\+25 restock/, /[-−]1 Sale/, /\+1 Opening stock/]);
  await expect(shopper.locator(".left")).toHaveText("25 left");
  await expect(shopper.getByRole("button", { name: "Buy now" })).toBeEnabled();
});

test("a product is made, found and changed", async ({ visit }) => {
  const page = await visit({ answers: [409, 422] });
  const word = unique();
  await signIn(page);
  await page.getByRole("link", { name: "Products", exact: true }).click();
  await page.getByRole("link", { name: "New product" }).click();
  await page.getByLabel("Article").fill(`MADE-${word}`);
  await page.getByLabel("Name").fill(`Kettle ${word}`);
  await page.getByLabel("Price").fill("49,90");
  await page.getByLabel("Opening stock").fill("7");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByRole("alert")).toContainText("decimal number");
  await page.getByLabel("Price").fill("49.90");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Saved.")).toBeVisible();
  await page.getByLabel("Name").fill(`Teapot ${word}`);
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(`Teapot ${word}`);
  await page.getByRole("link", { name: "See it in the shop" }).click();
  await expect(page.locator(".price")).toHaveText("€49.90");
  await page.goto(`/admin/products?q=${word}`);
  await expect(page.locator("tbody tr")).toHaveCount(1);
});

test("a file shows what becomes of it before it is taken in", async ({ visit }) => {
  const page = await visit({ answers: [422] });
  const word = unique();
  await signIn(page);
  await page.goto("/admin/products/import");
  const file = (rows) => ({
    name: "catalogue.csv",
    mimeType: "text/csv",
    buffer: Buffer.from(`sku,name,price,currency,stock\n${rows}`),
  });
  await page.getByLabel("File").setInputFiles(file(`A-${word},Lamp,1.2.3,EUR,4\n`));
  await page.getByRole("button", { name: "See what becomes of it" }).click();
  await expect(page.getByRole("alert")).toContainText("Line 2");
  await page.getByLabel("File").setInputFiles(file(`A-${word},Lamp ${word},12.30,EUR,4\nB-${word},Rug,5,EUR,0\n`));
  await expect(page.getByLabel("Rows")).toHaveValue(/Rug/);
  await page.getByRole("button", { name: "See what becomes of it" }).click();
  await expect(page.getByText("2 new, 0 changed")).toBeVisible();
  await page.getByRole("button", { name: "Import it" }).click();
  await expect(page.getByText("The catalogue is imported.")).toBeVisible();
  await page.goto(`/?q=${word}`);
  await expect(page.locator(".card")).toHaveCount(2);
});

test("an order and a customer are found", async ({ visit }) => {
  const [shopper, page] = [await visit(), await visit({ answers: [409] })];
  const product = await addProduct({ stock: 5 });
  const email = await signUp(shopper);
  await put(shopper, product, 2);
  await shopper.goto("/checkout");
  await shopper.locator("#pay [type=submit]").click();
  await shopper.waitForURL("**/orders/*");
  const id = new URL(shopper.url()).pathname.split("/").at(-1);
  await signIn(page);
  await page.goto("/admin/orders");
  await page.locator("#find").fill(email);
  await page.keyboard.press("Enter");
  await page.locator("tbody a").click();
  expect(new URL(page.url()).pathname).toBe(`/admin/orders/${id}`);
  await expect(page.getByText("The payment went through").first()).toBeVisible();
  await page.getByText("5 · OrderConfirmed").click();
  await expect(page.locator("pre").last()).toContainText(`"order_id": "${id}"`);
  await page.goto(`/admin/users?q=${email}`);
  await page.getByLabel(`Role of ${email}`).selectOption("admin");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByText("Saved.")).toBeVisible();
  await shopper.goto("/admin");
  await expect(shopper.getByRole("heading", { level: 1, name: "Now" })).toBeVisible();
});

test("the dashboard follows the shop by itself", async ({ visit }) => {
  const page = await visit();
  await signIn(page);
  await expect(page.getByText("Live")).toBeVisible();
  await page.evaluate(() => (window.isTheSamePage = true));
  const product = await addProduct({ name: `Quilt ${unique()}`, stock: 9 });
  await somebodyBuys(product, 2);
  const row = page.locator("[data-rows=selling] tr", { hasText: product.name });
  await expect(row.locator("td")).toHaveText(["2", "7", "0"]);
  // A cluster without an event log has no consumers.
  await expect(page.getByText(/analytics-service|Nobody reads the events/).filter({ visible: true })).toBeVisible();
  await expect(page.locator("path[data-name=sales]")).toHaveAttribute("d", /M.*L/);
  expect(await page.evaluate(() => window.isTheSamePage)).toBe(true);
});
