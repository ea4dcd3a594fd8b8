// The system's own browser: the one that Playwright would bring cannot be downloaded everywhere.

export const launch = { executablePath: process.env.HOLDFAST_TEST_CHROMIUM || "/usr/bin/chromium" };
