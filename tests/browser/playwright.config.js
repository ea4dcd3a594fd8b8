// How stories run: against a shop that is there already, with the system's browser, one at a time, because some measure
// time and some make the payment gateway silent for everybody.
//
//     npm ci
//     HOLDFAST_TEST_SHOPS=http://127.0.0.1:8080 HOLDFAST_TEST_ADMIN_TOKEN=… \
//       HOLDFAST_TEST_ADMIN_EMAIL=admin@localhost HOLDFAST_TEST_ADMIN_PASSWORD=… npx playwright test

import { defineConfig } from "@playwright/test";
import { shops } from "./support/shop.js";
import { launch } from "./support/chromium.js";

export default defineConfig({
  testDir: ".",
  timeout: 60_000,
  expect: { timeout: 10_000 },
  workers: 1,
  retries: 0,
  reporter: "list",
  use: {
    baseURL: shops[0],
    locale: "en-GB",
    actionTimeout: 10_000,
    navigationTimeout: 15_000,
    launchOptions: launch,
  },
});
