// Buying as people do: one thing, many, with every kind of card, by keyboard alone and without scripts.

import { addProduct, available, somebodyBuys } from "./support/shop.js";
import { expect, order, put, signUp, state, test } from "./support/story.js";

test("somebody finds a product, opens an account and buys it", async ({ page }) => {
  const product = await addProduct({ stock: 5 });
  await page.goto("/");
  await page.getByRole("searchbox").fill(product.name);
  await page.getByRole("searchbox").press("Enter");
  await page.getByRole("link", { name: product.name }).click();
  await expect(page.getByText("Only 5 left")).toBeVisible();
  await page.getByRole("button", { name: "One more" }).click();
  await page.getByRole("button", { name: "Buy now" }).click();
  await page.getByRole("link", { name: "Open an account" }).click();
  await signUp(page);
  await expect(page).toHaveURL(/\/checkout$/);
  await page.getByRole("button", { name: "Pay €25.00" }).click();
  await expect(page.getByRole("heading", { name: "It’s yours." })).toBeVisible();
  await expect(page.getByText(`${product.name} 2 × €12.50`)).toBeVisible();
  await expect(page.getByRole("link", { name: /^Basket$/ })).toBeVisible();
  await expect.poll(() => available(product)).toBe(3);
});

test("a basket of several products is changed and becomes one order", async ({ page }) => {
  const [first, second, third] = [await addProduct(), await addProduct({ price: 300 }), await addProduct()];
  await signUp(page);
  for (const product of [first, second, third]) await put(page, product);
  const line = page.getByRole("listitem").filter({ hasText: second.name });
  // Two clicks are one question to the server, which the script asks by itself.
  await line.getByRole("button", { name: "One more" }).click();
  await line.getByRole("button", { name: "One more" }).click();
  await expect(page.locator(".sum .big")).toHaveText("€34.00");
  await page.getByRole("button", { name: `Remove ${third.name}` }).click();
  await expect(page.locator(".sum .big")).toHaveText("€21.50");
  await page.getByRole("link", { name: "To the checkout" }).click();
  await page.getByRole("button", { name: "Pay €21.50" }).click();
  await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
  await expect(page.getByRole("rowheader", { name: second.name })).toContainText("3 × €3.00");
  await page.goto("/orders");
  await expect(page.locator(".orders li")).toHaveCount(1);
});

test("a declined card gives an order that says so, and keeps nothing", async ({ page }) => {
  const product = await addProduct({ stock: 5 });
  await signUp(page);
  await order(page, product, "tok_declined");
  await expect(state(page)).toHaveAttribute("data-status", "FAILED");
  await expect(page.getByText("You were not charged; try another card.")).toBeVisible();
  await expect.poll(() => available(product)).toBe(5);
});

for (const card of ["tok_timeout_before", "tok_timeout_after"]) {
  test(`a card that stays silent gives an order that comes to its end and keeps nothing: ${card}`, async ({ page }) => {
    const product = await addProduct({ stock: 5 });
    await signUp(page);
    await order(page, product, card);
    await expect(page.getByRole("heading", { name: "On its way…" })).toBeVisible();
    await expect(page.locator("[aria-current=step]")).toContainText("Payment Under way");
    await expect(state(page)).toHaveAttribute("data-status", "FAILED", { timeout: 30_000 });
    await expect(page.getByText("The bank did not answer.")).toBeVisible();
    await expect(page.locator(".steps")).toContainText("Holding what you chose Taken back");
    await expect.poll(() => available(product)).toBe(5);
  });
}

for (const [answer, status, left] of [
  ["Accept", "CONFIRMED", 4],
  ["Refuse", "FAILED", 5],
]) {
  test(`a card that asks its owner sends them to their bank and back: ${answer}`, async ({ page }) => {
    const product = await addProduct({ stock: 5 });
    await signUp(page);
    await order(page, product, "tok_3ds");
    const address = page.url();
    await expect(page.getByText("Waiting for you to confirm the payment.")).toBeVisible();
    await page.getByRole("link", { name: "Confirm the payment" }).click();
    await expect(page.getByRole("heading", { name: "Is that you?" })).toBeVisible();
    await page.getByRole("button", { name: answer }).click();
    await page.getByRole("link", { name: "Back to the shop" }).click();
    await expect(page).toHaveURL(address);
    await expect(state(page)).toHaveAttribute("data-status", status);
    await expect.poll(() => available(product)).toBe(left);
  });
}

test("what sells out between basket and checkout is refused, and the rest can be bought", async ({ visit }) => {
  const page = await visit({ answers: [409] });
  const [scarce, plenty] = [await addProduct({ stock: 2 }), await addProduct()];
  await signUp(page);
  await put(page, scarce, 2);
  await put(page, plenty);
  await page.goto("/checkout");
  await somebodyBuys(scarce, 1);
  await page.getByRole("button", { name: "Pay" }).click();
  await expect(page.getByRole("alert")).toContainText("There is not enough left. Nothing was charged.");
  await page.getByRole("link", { name: "Change the basket" }).click();
  await expect(page.getByText("There are fewer left than you want.")).toBeVisible();
  await page.getByLabel(`Quantity of ${scarce.name}`).fill("1");
  await page.keyboard.press("Tab");
  await expect(page.locator(".sum .big")).toHaveText("€25.00");
  await page.getByRole("link", { name: "To the checkout" }).click();
  await page.getByRole("button", { name: "Pay €25.00" }).click();
  await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
});

test("an order is taken back, and its units can be bought again", async ({ page }) => {
  const product = await addProduct({ stock: 1 });
  await signUp(page);
  await order(page, product);
  await expect.poll(() => available(product)).toBe(0);
  await page.getByText("Cancel this order").click();
  await page.getByRole("button", { name: "Yes, cancel it" }).click();
  await expect(page.getByRole("heading", { name: "Taken back" })).toBeVisible();
  await expect(page.locator(".steps")).toContainText("Payment Taken back");
  await expect.poll(() => available(product)).toBe(1);
});

test("a double click and the back button give one order", async ({ page }) => {
  const product = await addProduct({ stock: 5 });
  await signUp(page);
  await put(page, product);
  await page.goto("/checkout");
  await page.getByRole("button", { name: "Pay" }).dblclick();
  await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
  const address = page.url();
  await page.goBack();
  // The basket is empty meanwhile, and its page says so.
  await expect(page.getByText("Your basket is empty.")).toBeVisible();
  await page.goto("/orders");
  await expect(page.locator(".orders a")).toHaveCount(1);
  await page.locator(".orders a").click();
  await expect(page).toHaveURL(address);
  await expect.poll(() => available(product)).toBe(4);
});

test("a checkout that is open twice is one order", async ({ page }) => {
  const product = await addProduct({ stock: 5 });
  await signUp(page);
  await put(page, product);
  await page.goto("/checkout");
  // What a browser does that shows the page as it was and sends it again.
  const form = await page.locator("#pay").evaluate((form) => new URLSearchParams(new FormData(form)).toString());
  await page.getByRole("button", { name: "Pay" }).click();
  await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
  const again = await page.evaluate(async (body) => {
    const headers = { "Content-Type": "application/x-www-form-urlencoded" };
    return (await fetch("/checkout", { method: "POST", headers, body })).url;
  }, form);
  expect(again).toBe(page.url());
  await expect.poll(() => available(product)).toBe(4);
});

test("somebody buys with the keyboard alone", async ({ page }) => {
  const product = await addProduct({ stock: 5 });
  await signUp(page);
  await page.goto("/");
  /** Goes on with the key until what has the focus is called so. */
  const reach = async (name, key = "Tab") => {
    for (let presses = 0; presses < 60; presses += 1) {
      await page.keyboard.press(key);
      const focused = page.locator(":focus");
      if (!(await focused.count())) continue;
      await expect(focused, "what has the focus is seen").toBeInViewport({ ratio: 0.01 });
      const called = await focused.evaluate(({ ariaLabel, labels, textContent }) => {
        return [ariaLabel, labels?.[0]?.textContent, textContent].join(" ");
      });
      if (called.includes(name)) return;
    }
    throw new Error(`the keyboard does not reach: ${name}`);
  };
  await reach("Skip to the content");
  await reach("Search for a product");
  await page.keyboard.type(product.name);
  await page.keyboard.press("Enter");
  await expect(page.getByRole("heading", { level: 1 })).toContainText(product.name);
  await reach(product.name);
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/products\//);
  await reach("Quantity");
  await page.keyboard.press("ArrowUp");
  await reach("Buy now");
  await page.keyboard.press("Enter");
  await expect(page).toHaveURL(/\/checkout$/);
  await reach("A card that works");
  await reach("A card that is declined", "ArrowDown");
  await reach("A card that works", "ArrowUp");
  await reach("Pay €25.00");
  await page.keyboard.press("Enter");
  await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
  await reach("Cancel this order");
  await page.keyboard.press("Enter");
  await reach("Yes, cancel it");
  await page.keyboard.press("Enter");
  await expect(state(page)).toHaveAttribute("data-status", "CANCELLED");
});

test.describe("without scripts", () => {
  test.use({ javaScriptEnabled: false });

  test("somebody searches, buys and takes it back", async ({ page }) => {
    const product = await addProduct({ stock: 5 });
    await page.goto("/");
    await page.getByRole("searchbox").fill(product.name);
    await page.getByRole("searchbox").press("Enter");
    await page.getByRole("link", { name: product.name }).click();
    await page.getByLabel("Quantity").fill("3");
    await page.getByRole("button", { name: "Add to basket" }).click();
    await page.getByLabel(`Quantity of ${product.name}`).fill("2");
    await page.getByRole("button", { name: "Update" }).click();
    await page.getByRole("link", { name: "To the checkout" }).click();
    await page.getByRole("link", { name: "Open an account" }).click();
    await signUp(page);
    await page.getByLabel("A card that works").check();
    await page.getByRole("button", { name: "Pay €25.00" }).click();
    await expect(page.getByRole("heading", { name: "It’s yours." })).toBeVisible();
    await page.getByText("Cancel this order").click();
    await page.getByRole("button", { name: "Yes, cancel it" }).click();
    await expect(page.getByRole("heading", { name: "Taken back" })).toBeVisible();
    await expect.poll(() => available(product)).toBe(5);
  });

  test("an order that takes long is loaded again by itself until it has ended", async ({ page }) => {
    const product = await addProduct();
    await signUp(page);
    await order(page, product, "tok_late");
    await expect(page.getByRole("heading", { name: "On its way…" })).toBeVisible();
    await expect(state(page)).toHaveAttribute("data-status", "FAILED", { timeout: 30_000 });
  });
});
