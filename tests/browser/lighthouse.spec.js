// What Lighthouse says of the pages that sell, on the slow phone that it pretends to be.

import { readFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import path from "node:path";
import { chromium } from "@playwright/test";
import lighthouse from "lighthouse";
import { launch } from "./support/chromium.js";
import { pages } from "./support/pages.js";
import { shops } from "./support/shop.js";
import { expect } from "./support/story.js";
import { test } from "./support/world.js";

const SCORE_MIN = 95;
const CATEGORIES = ["performance", "accessibility", "best-practices", "seo"];

for (const name of ["catalogue", "product", "checkout"]) {
  test(`Lighthouse likes the page: ${name}`, async ({ world }) => {
    test.setTimeout(120_000);
    // Lighthouse drives the browser itself, by a port that the browser writes down where it keeps what it knows.
    const kept = await mkdtemp(path.join(tmpdir(), "holdfast-lighthouse-"));
    const browser = await chromium.launchPersistentContext(kept, { ...launch, args: ["--remote-debugging-port=0"] });
    try {
      const port = Number(readFileSync(path.join(kept, "DevToolsActivePort"), "utf8").split("\n")[0]);
      const { as, at } = pages[name];
      await browser.addCookies(world.people[as]?.cookies ?? []);
      const address = shops[0] + at(world);
      const options = { port, onlyCategories: CATEGORIES, disableStorageReset: true, logLevel: "error" };
      const { lhr } = await lighthouse(address, options);
      expect(lhr.finalDisplayedUrl).toBe(address);
      const scores = CATEGORIES.map((category) => [category, Math.round(lhr.categories[category].score * 100)]);
      console.log(`     ${scores.map(([category, score]) => `${category} ${score}`).join(", ")}`);
      const faults = (category) => {
        const audits = lhr.categories[category].auditRefs.map(({ id }) => lhr.audits[id]);
        return audits.filter(({ score }) => score !== null && score < 1).map(({ id, title }) => `${id}: ${title}`);
      };
      const low = scores.filter(([, score]) => score < SCORE_MIN).map(([category]) => [category, faults(category)]);
      expect(low).toEqual([]);
    } finally {
      await browser.close();
      await rm(kept, { recursive: true, force: true });
    }
  });
}
