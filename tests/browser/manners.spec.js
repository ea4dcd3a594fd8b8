// What a shop owes its visitors: their language, plain answers when something is not there, and that nothing which
// somebody typed is ever run.

import { readFileSync } from "node:fs";
import { addProduct, PASSWORD, shops, unique } from "./support/shop.js";
import { expect, order, put, signUp, state, test } from "./support/story.js";

test("a product's name is text, whatever it says", async ({ page }) => {
  const hostile = `<script>alert(1)</script> "><img src=x onerror=alert(2)> {{7*7}}`;
  const category = `"><svg onload=alert(3)>`;
  const product = await addProduct({ name: `${hostile} ${unique()}`, description: hostile, category });
  await page.goto(`/?q=${encodeURIComponent(product.name)}`);
  await expect(page.getByRole("heading", { level: 1 })).toContainText(hostile);
  await page.getByRole("link", { name: product.name }).click();
  await expect(page).toHaveTitle(`${product.name} · Holdfast`);
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(product.name);
  await expect(page.locator(".about p").first()).toHaveText(hostile);
  await page.getByRole("link", { name: product.category }).click();
  await expect(page.getByRole("heading", { level: 1 })).toHaveText(product.category);
  await signUp(page);
  await put(page, product);
  await expect(page.getByRole("link", { name: product.name })).toBeVisible();
  await page.getByRole("link", { name: "To the checkout" }).click();
  await expect(page.getByText(`1 × ${product.name}`)).toBeVisible();
  await order(page, product);
  await expect(page.getByRole("link", { name: product.name })).toBeVisible();
  await page.goto("/orders");
  await expect(page.getByRole("link", { name: product.name })).toBeVisible();
  await expect(page.locator("img[src=x], main script, main svg[onload]")).toHaveCount(0);
});

test("what visitors type into forms is shown as text", async ({ visit }) => {
  const page = await visit({ answers: [400, 401, 422] });
  for (const address of ["/sign-in", "/sign-up"]) {
    await page.goto(address);
    const typed = `"><script> alert(1)</script>@example.com`;
    await page.locator(".door form").evaluate((form) => (form.noValidate = true));
    await page.locator("#email").fill(typed);
    await page.locator("#password").fill("12345678");
    await page.locator(".door [type=submit]").click();
    await expect(page.getByRole("alert")).toBeVisible();
    await expect(page.locator("#email")).toHaveValue(typed);
  }
  for (const parameter of ["q", "category", "back", "notice", "cursor"]) {
    const answer = await page.goto(`/?${parameter}=${encodeURIComponent("'\"><script>alert(1)</script>")}`);
    expect([200, 400, 422]).toContain(answer.status());
  }
});

test("what is not there is said with the right status and a way on", async ({ visit }) => {
  const page = await visit({ answers: [404] });
  await signUp(page);
  for (const address of ["/nothing", "/products/999999999", "/products/x", "/orders/x", "/assets/x.css"]) {
    const answer = await page.goto(address);
    expect(answer.status(), address).toBe(404);
    await page.goto("/");
  }
  await page.goto("/nothing");
  await expect(page.getByRole("heading", { name: "Nothing here" })).toBeVisible();
  await page.getByRole("link", { name: "To the shop" }).click();
  await expect(page).toHaveURL(`${shops[0]}/`);
  await page.goto("/?q=nothing-is-called-so");
  await expect(page.getByText("Nothing here matches.")).toBeVisible();
});

test("a sold-out product cannot be put into the basket, and its page says so", async ({ page }) => {
  const product = await addProduct({ stock: 0 });
  await page.goto(`/products/${product.id}`);
  await expect(page.locator(".left")).toHaveText("Sold out");
  await expect(page.getByRole("button", { name: "Add to basket" })).toBeDisabled();
  await expect(page.getByRole("button", { name: "Buy now" })).toBeDisabled();
  await expect(page.getByText("Some come back")).toBeVisible();
});

test("nobody sees the orders of somebody else", async ({ page, visit }) => {
  const product = await addProduct();
  await signUp(page);
  await order(page, product);
  const stranger = await visit({ answers: [404] });
  await signUp(stranger);
  expect((await stranger.goto(page.url())).status()).toBe(404);
  await expect(stranger.getByRole("heading", { name: "Nothing here" })).toBeVisible();
  const visitor = await visit();
  await visitor.goto(page.url());
  await expect(visitor).toHaveURL(/\/sign-in\?back=%2Forders%2F/);
});

test("whoever signs out and in again is where they were, with their basket", async ({ page }) => {
  const product = await addProduct();
  const email = await signUp(page);
  await put(page, product);
  const menu = page.getByRole("navigation", { name: "Account" });
  await menu.getByText("Account").click();
  await menu.getByRole("button", { name: "Sign out" }).click();
  await expect(page.getByText("You are signed out.")).toBeVisible();
  await page.goto("/orders");
  await page.locator("#email").fill(email);
  await page.locator("#password").fill(PASSWORD);
  await page.locator(".door [type=submit]").click();
  await expect(page).toHaveURL(/\/orders$/);
  await expect(page.getByText("You have not bought anything yet.")).toBeVisible();
  await expect(page.getByText("1 item")).toBeAttached();
});

test("a form from before somebody signed in is refused, and nothing is done", async ({ visit }) => {
  const page = await visit({ answers: [403] });
  const product = await addProduct();
  await page.goto(`/products/${product.id}`);
  const other = await page.context().newPage();
  await signUp(other);
  await page.getByRole("button", { name: "Add to basket" }).click();
  await expect(page.getByRole("heading", { name: "This page was open too long" })).toBeVisible();
  await other.goto("/basket");
  await expect(other.getByText("Your basket is empty.")).toBeVisible();
});

test("choosing a language keeps the page, and is remembered", async ({ page }) => {
  const product = await addProduct({ price: 123456 });
  await page.goto(`/?q=${product.name}`);
  const here = page.url();
  await expect(page.locator("html")).toHaveAttribute("lang", "en");
  await page.getByRole("button", { name: "Tiếng Việt" }).click();
  await expect(page).toHaveURL(here);
  await expect(page.locator("html")).toHaveAttribute("lang", "vi");
  await expect(page.locator(".card .price")).toHaveText("1.234,56\u00a0€");
  await page.goto(`/products/${product.id}`);
  await page.getByRole("button", { name: "English" }).click();
  await expect(page).toHaveURL(`/products/${product.id}`);
  await expect(page.locator(".offer > .price")).toHaveText("€1,234.56");
});

/** The texts of a language, those without gaps, by key. */
function texts(code) {
  const lines = readFileSync(new URL(`../../locales/${code}.ftl`, import.meta.url), "utf8").split("\n");
  return new Map(lines.flatMap((line) => [/^([a-z0-9-]+) = ([^{]+)$/.exec(line)?.slice(1)].filter(Boolean)));
}

test.describe("in Vietnamese", () => {
  test.use({ locale: "vi-VN" });

  test("a whole purchase is Vietnamese, and money is written as there", async ({ visit }) => {
    const page = await visit({ answers: [404] });
    const [english, vietnamese] = [texts("en"), texts("vi")];
    expect(english.size).toBeGreaterThan(100);
    const own = new Set(vietnamese.values());
    const foreign = new Set([...english].flat().filter((text) => !own.has(text) && text !== "Holdfast"));
    /** Nothing on this page is the key of a text, or the text of another language. */
    const isVietnamese = async () => {
      await expect(page.locator("html")).toHaveAttribute("lang", "vi");
      const said = await page.evaluate(() => {
        const walker = document.createTreeWalker(document, NodeFilter.SHOW_TEXT);
        const said = [document.title.split(" · ")[0]];
        while (walker.nextNode()) {
          said.push(walker.currentNode.data);
        }
        for (const element of document.querySelectorAll("*")) {
          const names = ["aria-label", "placeholder", "alt", "content"];
          said.push(...names.map((name) => element.getAttribute(name) ?? ""), ...Object.values(element.dataset));
        }
        return said.map((text) => text.trim());
      });
      // States are words of the program, and only the style sheet reads them.
      const states = ["done", "now", "todo", "failed", "undone", "none", "few", "many"];
      expect(said.filter((text) => foreign.has(text) && !states.includes(text)), page.url()).toEqual([]);
    };
    const product = await addProduct({ name: `Đèn lồng ${unique()}`, price: 1250000, currency: "VND", stock: 3 });
    await page.goto(`/?q=${product.name}`);
    await isVietnamese();
    await expect(page.locator(".card .price")).toHaveText("1.250.000\u00a0₫");
    await page.locator(".card a").click();
    await expect(page.locator(".pulse")).toBeVisible();
    await isVietnamese();
    await page.locator(".buy [type=submit]:not([name])").click();
    await isVietnamese();
    await page.locator("a[href='/checkout']").click();
    await isVietnamese();
    await page.locator(".door p a").click();
    await isVietnamese();
    await signUp(page);
    await isVietnamese();
    await expect(page.locator(".sum .big")).toHaveText("1.250.000\u00a0₫");
    await page.locator("#pay [type=submit]").click();
    await expect(state(page)).toHaveAttribute("data-status", "CONFIRMED");
    await isVietnamese();
    await expect(page.locator("tfoot .big")).toHaveText("1.250.000\u00a0₫");
    await page.locator("#cancel-open").click();
    await page.locator("#cancel-now").click();
    await expect(state(page)).toHaveAttribute("data-status", "CANCELLED");
    await isVietnamese();
    for (const address of ["/orders", "/basket", "/nothing"]) {
      await page.goto(address);
      await isVietnamese();
    }
  });
});
