// Every page of the shop, a line each: what accessibility, weight and screenshots go by.

import { addProduct, PASSWORD, shops, somebodyBuys } from "./shop.js";
import { expect, pay, put, state } from "./story.js";

/**
 * Pages by name. `as` is who looks: a `visitor`, a `shopper` with something in the basket, a `customer` who has bought
 * before and is about to do it again, a `newcomer` who has not, or the `administrator`. `at` is the address, given the
 * world that `world.js` makes; `then` is done before one looks; `answers` is the status where it is one of an error.
 * What `isOdd` is not in the pictures.
 */
export const pages = {
  catalogue: { as: "visitor", at: () => "/" },
  "catalogue-category": { as: "visitor", at: ({ product }) => `/?category=${product.category}` },
  search: { as: "visitor", at: ({ product }) => `/?q=${encodeURIComponent(product.name)}` },
  "search-nothing": { as: "visitor", at: () => "/?q=unobtainium" },
  product: { as: "visitor", at: ({ product }) => `/products/${product.id}` },
  "product-few": { as: "visitor", at: ({ few }) => `/products/${few.id}` },
  "product-sold-out": { as: "visitor", at: ({ soldOut }) => `/products/${soldOut.id}` },
  "product-long-name": { as: "visitor", at: ({ long }) => `/products/${long.id}`, isOdd: true },
  "basket-empty": { as: "visitor", at: () => "/basket" },
  basket: { as: "shopper", at: () => "/basket?notice=added" },
  "basket-short": { as: "shopper", at: () => "/basket", then: wantMoreThanThereIs },
  "sign-in": { as: "visitor", at: () => "/sign-in?back=%2Fcheckout" },
  "sign-in-refused": { as: "visitor", at: () => "/sign-in", then: signInWrongly, answers: 401, isOdd: true },
  "sign-up": { as: "visitor", at: () => "/sign-up" },
  "sign-up-refused": { as: "visitor", at: () => "/sign-up", then: signUpWrongly, answers: 422 },
  orders: { as: "customer", at: () => "/orders" },
  "orders-none": { as: "newcomer", at: () => "/orders" },
  account: { as: "customer", at: () => "/orders", then: openMenu },
  checkout: { as: "customer", at: () => "/checkout" },
  "checkout-sold-out": { as: "customer", at: () => "/checkout", then: comeTooLate, answers: 409 },
  "order-confirmed": { as: "customer", at: ({ orders }) => orders.confirmed, then: openDetails },
  "order-declined": { as: "customer", at: ({ orders }) => orders.declined },
  "order-cancelled": { as: "customer", at: ({ orders }) => orders.cancelled, then: openDetails },
  "order-act": { as: "customer", at: ({ orders }) => orders.act },
  "order-pending": { as: "customer", at: () => "/checkout", then: paySilently },
  "bank-asks": { as: "customer", at: ({ challenge }) => challenge, isOdd: true },
  "not-found": { as: "visitor", at: () => "/nothing", answers: 404 },
  "form-expired": { as: "visitor", at: () => "/sign-in", then: sendOldForm, answers: 403, isOdd: true },
  problem: { as: "visitor", at: () => "/problems/out-of-stock", isOdd: true },
  "admin-now": { as: "administrator", at: () => "/admin" },
  "admin-products": { as: "administrator", at: () => "/admin/products" },
  "admin-product": { as: "administrator", at: ({ product }) => `/admin/products/${product.id}` },
  "admin-product-wrong": { as: "administrator", at: () => "/admin/products/new", then: nameNoPrice, answers: 422, isOdd: true },
  "admin-product-new": { as: "administrator", at: () => "/admin/products/new" },
  "admin-import": { as: "administrator", at: () => "/admin/products/import" },
  "admin-import-plan": { as: "administrator", at: () => "/admin/products/import", then: lookAtPlan },
  "admin-orders": { as: "administrator", at: () => "/admin/orders" },
  "admin-order": { as: "administrator", at: ({ orders }) => `/admin${orders.cancelled}`, then: openTimeline },
  "admin-analytics": { as: "administrator", at: () => "/admin/analytics" },
  "admin-users": { as: "administrator", at: () => "/admin/users" },
};

/** Opens a page of the table in a browser of somebody who may see it. */
export async function open(page, { at, then }, world) {
  await page.goto(at(world));
  // Whoever may not see it would be led elsewhere.
  expect(new URL(page.url()).pathname).toBe(new URL(at(world), shops[0]).pathname);
  await then?.(page, world);
  // Nothing is shown as what the pointer happens to be on.
  await page.mouse.move(0, 0);
}

async function wantMoreThanThereIs(page, { few }) {
  await page.locator(`#quantity-${few.id}`).fill("99");
  await page.keyboard.press("Enter");
  await expect(page.getByRole("alert")).toBeVisible();
}

async function signInWrongly(page) {
  await page.locator("#email").fill("ada@example.com");
  await page.locator("#password").fill("not the password");
  await page.locator(".door [type=submit]").click();
  await expect(page.getByRole("alert")).toBeVisible();
}

async function signUpWrongly(page) {
  await page.locator(".door form").evaluate((form) => (form.noValidate = true));
  await page.locator("#email").fill("ada");
  await page.locator("#password").fill(PASSWORD);
  await page.locator(".door [type=submit]").click();
  await expect(page.getByRole("alert")).toBeVisible();
}

async function comeTooLate(page) {
  const print = await addProduct({ name: "Signed print", stock: 2 });
  await put(page, print, 2);
  await page.goto("/checkout");
  await somebodyBuys(print, 1);
  await page.locator("#pay [type=submit]").click();
  await expect(page.getByRole("alert")).toBeVisible();
}

/** Pays with a card that gets no answer, and keeps the page as it is then. */
async function paySilently(page) {
  await page.route("**/live", (route) => route.fulfill({ status: 204 }));
  await pay(page, "tok_timeout_before");
  await expect(state(page)).toHaveAttribute("data-status", "PENDING");
}

async function openDetails(page) {
  for (const details of await page.locator(".way summary").all()) await details.click();
}

async function openMenu(page) {
  await page.locator(".menu summary").click();
}

async function sendOldForm(page) {
  await page.locator(".end [name=csrf]").evaluate((field) => (field.value = "old"));
  await page.locator(".end [lang=vi]").click();
  await expect(page.locator(".code")).toBeVisible();
}

async function nameNoPrice(page) {
  await page.locator("#sku").fill("X");
  await page.locator("#name").fill("Something");
  await page.locator("#price").fill("a lot");
  await page.getByRole("button", { name: "Save" }).click();
  await expect(page.getByRole("alert")).toBeVisible();
}

async function lookAtPlan(page, { product }) {
  const rows = [`${product.sku},Another name,${product.price.amount / 100},${product.price.currency},0`, "NEW-1,Kite,19.90,EUR,12"];
  await page.locator("textarea").fill(["sku,name,price,currency,stock", ...rows].join("\n"));
  await page.getByRole("button", { name: "See what becomes of it" }).click();
  await expect(page.locator("[data-what=new]")).toBeVisible();
}

async function openTimeline(page) {
  await page.locator(".timeline summary").last().click();
}
