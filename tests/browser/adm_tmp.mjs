import { chromium } from "@playwright/test";
const base = process.argv[2];
const b = await chromium.launch({ executablePath: "/usr/bin/chromium", args: ["--no-sandbox"] });
for (const [w,h,n] of [[1280,900,"d"],[390,844,"p"]]) {
  const ctx = await b.newContext({ viewport: { width: w, height: h } });
  const p = await ctx.newPage();
  p.on("console", m => m.type()==="error" && console.log("console", m.text()));
  p.on("pageerror", e => console.log("pageerror", e.message));
  await p.goto(base + "/sign-in?back=/admin");
  await p.fill("#email", "admin@localhost"); await p.fill("#password", "correct horse battery");
  await p.click("form[action='/sign-in'] button[type=submit]");
  await p.waitForTimeout(n==="d" ? 4000 : 1500);
  await p.screenshot({ path: `/tmp/shots/${n}-dashboard.png`, fullPage: true });
  for (const path of ["products","products/1","products/new","products/import","orders","analytics","users"]) {
    const r = await p.goto(`${base}/admin/${path}`);
    if (r.status() !== 200) console.log(path, r.status());
    await p.screenshot({ path: `/tmp/shots/${n}-${path.replace("/","-")}.png`, fullPage: true });
  }
  await p.goto(`${base}/admin/orders`);
  const href = await p.locator("tbody a").first().getAttribute("href").catch(()=>null);
  if (href) { await p.goto(base+href); await p.screenshot({ path: `/tmp/shots/${n}-order.png`, fullPage: true }); }
  await ctx.close();
}
await b.close();
