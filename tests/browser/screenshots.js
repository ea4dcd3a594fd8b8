// Pictures of every page, phone and desk, for docs/screenshots/. Wants a shop that was just opened, with its sample.

import { mkdir, rm, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { chromium } from "@playwright/test";
import { launch } from "./support/chromium.js";
import { open, pages } from "./support/pages.js";
import { shops } from "./support/shop.js";
import { prepare } from "./support/world.js";

const FOLDER = fileURLToPath(new URL("../../docs/screenshots/", import.meta.url));
const SCREENS = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 900 } };
const DARK = ["catalogue", "product"];
const QUALITY_PERCENT = 40;
/** Of a list that goes on and on its beginning is enough. */
const HEIGHT_MAX_PX = 2200;

const browser = await chromium.launch(launch);
const world = await prepare(browser, { isSample: true });
await rm(FOLDER, { recursive: true, force: true });
await mkdir(FOLDER, { recursive: true });

let bytes = 0;
for (const [name, about] of Object.entries(pages).filter(([, { isOdd }]) => !isOdd)) {
  for (const colorScheme of DARK.includes(name) ? ["light", "dark"] : ["light"]) {
    for (const [screen, viewport] of Object.entries(SCREENS)) {
      const who = { storageState: world.people[about.as], locale: "en-GB" };
      const context = await browser.newContext({ baseURL: shops[0], viewport, colorScheme, ...who });
      const page = await context.newPage();
      // What breathes is caught at rest.
      await page.emulateMedia({ reducedMotion: "reduce" });
      await open(page, about, world);
      await page.evaluate(() => document.fonts.ready);
      const devtools = await context.newCDPSession(page);
      // Playwright itself writes no WebP, which is a third of the size.
      const options = { format: "webp", quality: QUALITY_PERCENT, captureBeyondViewport: true };
      const { cssContentSize } = await devtools.send("Page.getLayoutMetrics");
      const height = Math.min(cssContentSize.height, HEIGHT_MAX_PX);
      const clip = { x: 0, y: 0, width: viewport.width, height, scale: 1 };
      const { data } = await devtools.send("Page.captureScreenshot", { ...options, clip });
      const file = Buffer.from(data, "base64");
      bytes += file.length;
      await writeFile(`${FOLDER}${name}-${screen}${colorScheme === "dark" ? "-dark" : ""}.webp`, file);
      await context.close();
    }
  }
}
await browser.close();
console.log(`${Math.round(bytes / 1024)} KiB in ${FOLDER}`);
