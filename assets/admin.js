// What open pages of the administration do by themselves: the dashboard follows the sale, files are read into forms. All
// of it works without, too.

const lang = document.documentElement.lang;
const whole = new Intl.NumberFormat(lang, { maximumFractionDigits: 0 });
const one = new Intl.NumberFormat(lang, { minimumFractionDigits: 1, maximumFractionDigits: 1 });

// Dashboard

const KEPT = 300;
// From here on milliseconds are shown without decimals.
const LONG_MS = 100;
const COME_BACK_MS = 3000;
const board = document.getElementById("dashboard");
if (board) {
  let ticks = [];
  const rates = new Set(["sales", "sold_out", "declined", "failed", "busy", "views"]);
  // What a tick says under a name: a second's worth, or as it is.
  const value = (tick, name) => {
    if (rates.has(name)) return (tick[name] * 1000) / Math.max(1, tick.ms);
    return name === "cache_hit_rate" && tick[name] !== null ? tick[name] * 100 : tick[name];
  };
  const written = (name, number) => {
    if (number === null || number === undefined) return "–";
    const isShort = (name.endsWith("_ms") && number < LONG_MS) || name === "cache_hit_rate";
    return isShort ? one.format(number) : whole.format(number);
  };

  const charts = [...board.querySelectorAll(".chart")].map((chart) => ({
    unit: chart.dataset.unit,
    highest: chart.querySelector(".highest"),
    paths: [...chart.querySelectorAll("path")],
  }));
  const WIDTH = 600;
  const HEIGHT = 160;
  const draw = ({ unit, highest, paths }) => {
    const lines = paths.map((path) => ticks.map((tick) => value(tick, path.dataset.name)));
    const top = unit === "percent" ? 100 : Math.max(1, ...lines.flat().filter((number) => number !== null)) * 1.05;
    highest.textContent = unit === "ms" && top < LONG_MS ? one.format(top) : whole.format(top);
    paths.forEach((path, at) => {
      let d = "";
      let pen = "M";
      lines[at].forEach((number, place) => {
        if (number === null) return (pen = "M");
        const x = WIDTH - ((ticks.length - 1 - place) * WIDTH) / (KEPT - 1);
        d += `${pen}${x.toFixed(1)} ${(HEIGHT - (number / top) * (HEIGHT - 2) - 1).toFixed(1)}`;
        pen = "L";
      });
      path.setAttribute("d", d);
    });
  };

  // Figures

  const figures = [...board.querySelectorAll("[data-figure]")];
  const show = () => {
    const newest = ticks.at(-1);
    if (!newest) return;
    for (const figure of figures) {
      const name = figure.dataset.figure;
      if (name in newest) figure.textContent = written(name, value(newest, name));
    }
    charts.forEach(draw);
  };

  // Tables. A row stays the same element for as long as it is about the same thing.

  const cell = (kind, text) => Object.assign(document.createElement(kind), { textContent: text });
  const fill = (name, items, key, make, update) => {
    const place = board.querySelector(`[data-rows=${name}]`);
    const list = place.tBodies?.[0] ?? place;
    const rows = new Map([...list.children].map((row) => [row.dataset.key, row]));
    const wanted = items.map((item) => {
      const row = rows.get(String(key(item))) ?? make(item);
      row.dataset.key = key(item);
      update?.(row, item);
      return row;
    });
    // What stays where it is keeps its focus, and a press that has begun.
    const isSame = wanted.length === list.children.length && wanted.every((row, at) => row === list.children[at]);
    if (!isSame) list.replaceChildren(...wanted);
    place.parentElement.querySelector(".none").hidden = items.length > 0;
  };
  const row = (head, cells) => {
    const tr = document.createElement("tr");
    const th = Object.assign(document.createElement("th"), { scope: "row" });
    th.append(head);
    tr.append(th, ...Array.from({ length: cells }, () => document.createElement("td")));
    return tr;
  };
  const write = (tr, numbers) => numbers.forEach((number, at) => (tr.cells[at + 1].textContent = number));
  const link = (text, href) => Object.assign(document.createElement("a"), { textContent: text, href });

  const stand = (standing) => {
    fill(
      "selling",
      standing.selling,
      ({ id }) => id,
      ({ id, name }) => row(link(name, `/admin/products/${id}`), 3),
      (tr, { sold, available, held }) => write(tr, [sold, available, held].map((n) => whole.format(n))),
    );
    fill(
      "consumers",
      standing.consumers,
      ({ group }) => group,
      ({ group }) => row(cell("span", group), 1),
      (tr, { messages }) => write(tr, [written("lag", messages)]),
    );
    fill("stuck", standing.stuck, ({ id }) => id, ({ id, step }) => {
      const li = board.querySelector("template").content.firstElementChild.cloneNode(true);
      Object.assign(li.querySelector("a"), { textContent: id, href: `/admin/orders/${id}` });
      li.querySelector(".hint").textContent = step;
      li.querySelector("form").action = `/admin/orders/${id}/resume`;
      return li;
    });
    for (const name of ["open_sagas", "waiting_sagas"]) {
      board.querySelector(`[data-figure=${name}]`).textContent = written(name, standing[name]);
    }
  };

  const pulse = board.querySelector(".pulse");
  let source = null;
  let timer = 0;
  const follow = () => {
    if (document.hidden || source) return;
    source = new EventSource(board.dataset.live);
    source.onopen = () => (pulse.hidden = false);
    source.onerror = () => {
      pulse.hidden = true;
      if (source?.readyState !== EventSource.CLOSED) return;
      leave();
      timer = setTimeout(follow, COME_BACK_MS * (1 + Math.random()));
    };
    source.addEventListener("tick", ({ data }) => {
      const told = JSON.parse(data);
      const last = ticks.at(-1)?.at ?? "";
      ticks = [...ticks, ...told.ticks.filter(({ at }) => at > last)].slice(-KEPT);
      requestAnimationFrame(show);
      if (told.standing) stand(told.standing);
    });
  };
  const leave = () => {
    clearTimeout(timer);
    source?.close();
    source = null;
    pulse.hidden = true;
  };
  document.addEventListener("visibilitychange", () => (document.hidden ? leave() : follow()));
  addEventListener("pageshow", follow);
  addEventListener("pagehide", leave);
  follow();
}

// A file goes into the field that it is for.

for (const file of document.querySelectorAll("[data-into]")) {
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (chosen) document.getElementById(file.dataset.into).value = await chosen.text();
  });
}
