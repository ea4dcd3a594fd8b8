// Every page is for everybody: no rule of WCAG 2.2 (A and AA) or of good practice is broken, light or dark, on a phone
// or a desk, and nothing is cut off on the narrowest screen.

import { AxeBuilder } from "@axe-core/playwright";
import { open, pages } from "./support/pages.js";
import { expect } from "./support/story.js";
import { test } from "./support/world.js";

const RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22a", "wcag22aa", "best-practice"];
const SCREENS = { phone: { width: 390, height: 844 }, desk: { width: 1280, height: 900 } };
const NARROWEST = { width: 320, height: 640 };

for (const [name, about] of Object.entries(pages)) {
  test(`${name} is for everybody`, async ({ visit, world }) => {
    const page = await visit({ storageState: world.people[about.as], answers: [about.answers] });
    // What moves is looked at when it has arrived.
    await page.emulateMedia({ reducedMotion: "reduce" });
    await open(page, about, world);
    for (const [screen, size] of Object.entries(SCREENS)) {
      await page.setViewportSize(size);
      for (const colorScheme of ["light", "dark"]) {
        await page.emulateMedia({ colorScheme });
        const { violations, passes } = await new AxeBuilder({ page }).withTags(RULES).analyze();
        const told = ({ id, nodes }) => nodes.map(({ html, failureSummary }) => ({ id, html, failureSummary }));
        expect.soft(violations.flatMap(told), `${screen}, ${colorScheme}`).toEqual([]);
        expect(passes.length, "rules were looked at").toBeGreaterThan(5);
      }
    }
    await page.setViewportSize(NARROWEST);
    const width = await page.evaluate(() => document.documentElement.scrollWidth);
    expect.soft(width, "nothing is wider than the narrowest screen").toBeLessThanOrEqual(NARROWEST.width);
  });
}
