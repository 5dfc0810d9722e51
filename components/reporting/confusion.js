"use strict";
// The interactive confusion matrix. It reads the JSON beside it (see `explorer` in confusion.py), draws on a canvas, and says what a
// cell holds in words; names only ever become text, never markup. Without this script the page shows its static tables.
(() => {
  const root = document.getElementById("explorer");
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const LABELS = data.labels.length;
  const SPECIAL = LABELS; // unseen in training as a true class, no usable scores as a prediction
  const WIDTH = LABELS + 2; // the last index stands for all classes that are left out
  const ELSEWHERE = -1;
  const BEFORE = root.dataset.before; // what the page calls the other model
  const LEGIBLE = 14; // pixels of a cell whose label can be read
  const PAIRS = 15;
  const NEIGHBOURS = 12;
  const PRESETS = [60, 30, 15].filter((size) => size < LABELS);
  const ORDERS = ["name", "rows", "errors", "rate", "together"];

  const part = (name) => root.querySelector(`[data-part="${name}"]`);
  const [slices, order, classes, around] = ["slice", "order", "classes", "around"].map(part);
  const [stage, canvas, tip, summary, legend, pairs] = ["stage", "canvas", "tip", "summary", "legend", "pairs"].map(part);
  const sheet = document.createElement("canvas");
  let context = canvas.getContext("2d");
  const state = { slice: 0, model: "candidate", unit: "actual", order: "name", size: LABELS, centre: [], cell: null };
  let view; // what is shown: the numbers of the slice and the classes in their order
  let layout; // where it is drawn
  let colour; // the theme's colours

  // ---- numbers -------------------------------------------------------------------------------------------------------------

  function decode(coded) {
    const counts = new Float64Array(WIDTH * WIDTH);
    let at = 0;
    for (let i = 0; i < coded.length; i += 2) {
      at += coded[i];
      counts[at] = coded[i + 1];
    }
    const actual = new Float64Array(WIDTH);
    const predicted = new Float64Array(WIDTH);
    let hits = 0;
    let all = 0;
    for (let a = 0; a < WIDTH; a++) {
      for (let p = 0; p < WIDTH; p++) {
        const n = counts[a * WIDTH + p];
        actual[a] += n;
        predicted[p] += n;
        all += n;
        if (a === p && a < LABELS) hits += n;
      }
    }
    return { counts, actual, predicted, hits, all };
  }

  function rows(model, a, p) {
    if (p !== ELSEWHERE) return model.counts[a * WIDTH + p];
    return view.columns.reduce((rest, shown) => (shown === ELSEWHERE ? rest : rest - model.counts[a * WIDTH + shown]), model.actual[a]);
  }

  function share(model, a, p) {
    const n = rows(model, a, p);
    if (state.unit === "rows" || !n) return n;
    if (state.unit === "actual") return n / model.actual[a];
    return p === ELSEWHERE ? NaN : n / model.predicted[p];
  }

  function value(a, p) {
    if (state.model === "candidate") return share(view.ours, a, p);
    if (state.model === "baseline") return share(view.theirs, a, p);
    return share(view.ours, a, p) - share(view.theirs, a, p);
  }

  // The model whose numbers decide about order and choice of classes.
  const leading = () => (state.model === "baseline" ? view.theirs : view.ours);

  function mistakes() {
    const found = [];
    const weight = (at) =>
      state.model === "change" ? view.ours.counts[at] - view.theirs.counts[at] : leading().counts[at];
    for (let a = 0; a <= SPECIAL; a++) {
      for (let p = 0; p <= SPECIAL; p++) {
        const n = weight(a * WIDTH + p);
        if (n && (a !== p || a === SPECIAL)) found.push({ a, p, n });
      }
    }
    return found.sort((one, other) => Math.abs(other.n) - Math.abs(one.n) || one.a - other.a || one.p - other.p);
  }

  // ---- which classes, in which order ---------------------------------------------------------------------------------------

  function chosen() {
    if (state.centre.length) return neighbours(state.centre);
    if (state.size >= LABELS) return [...Array(LABELS).keys()];
    const found = new Set();
    for (const { a, p } of view.mistakes) {
      if (a >= LABELS || p >= LABELS) continue;
      if (found.size + !found.has(a) + !found.has(p) <= state.size) found.add(a).add(p);
      if (found.size >= state.size) break;
    }
    return [...found];
  }

  function neighbours(centre) {
    const found = new Set(centre);
    for (const { a, p } of view.mistakes) {
      if (found.size >= NEIGHBOURS + centre.length) break;
      if (a < LABELS && p < LABELS && (centre.includes(a) || centre.includes(p))) found.add(a).add(p);
    }
    return [...found];
  }

  function ordered(indices) {
    const model = leading();
    const hits = (c) => model.counts[c * WIDTH + c];
    const errors = (c) => model.actual[c] - hits(c);
    const largest = (measure) => indices.sort((one, other) => measure(other) - measure(one) || one - other);
    if (state.order === "rows") return largest((c) => model.actual[c]);
    if (state.order === "errors") return largest(errors);
    if (state.order === "rate") return largest((c) => (model.actual[c] ? errors(c) / model.actual[c] : -1));
    if (state.order === "together") return chained(largest(errors), model);
    return indices.sort((one, other) => one - other); // labels come in the order of their names
  }

  // Each class beside the one it is confused with most of those that have no place yet.
  function chained(indices, model) {
    const left = [...indices];
    const chain = [];
    while (left.length) {
      const last = chain[chain.length - 1];
      const mixed = (c) => (last === undefined ? 0 : model.counts[last * WIDTH + c] + model.counts[c * WIDTH + last]);
      let best = 0;
      for (let i = 1; i < left.length; i++) if (mixed(left[i]) > mixed(left[best])) best = i;
      chain.push(...left.splice(best, 1));
    }
    return chain;
  }

  // ---- drawing -------------------------------------------------------------------------------------------------------------

  function colours() {
    const style = getComputedStyle(document.documentElement);
    const read = (name) => style.getPropertyValue(name).trim();
    const strength = parseFloat(read("--heat")) || 1;
    // A few shades do, and a shade that has been made is not parsed again.
    const tone = (name) => {
      const shades = Array.from({ length: 65 }, (_, step) => `rgb(${read(name)} / ${(step / 64) * strength})`);
      return (alpha) => shades[Math.round(64 * Math.min(1, alpha))];
    };
    return {
      ink: read("--ink"), soft: read("--soft"), line: read("--line"), raised: read("--raised"), ground: read("--paper"), focus: `rgb(${read("--accent")})`,
      band: `rgb(${read("--accent")} / .12)`, hit: tone("--good"), miss: tone("--bad"), better: tone("--accent"),
    };
  }

  function measure() {
    const width = stage.clientWidth;
    const columns = view.columns.length;
    context.font = font(11);
    const longest = (indices, isRow) => Math.max(30, ...indices.map((index) => context.measureText(name(index, isRow)).width));
    const counted = width > 560 ? 46 : 0;
    const left = Math.min(longest(view.rows, true) + 10, width * 0.32, 220);
    const roomy = columns <= 8;
    const room = width - left - counted - 2;
    const cell = Math.max(2, Math.min(room / columns, roomy ? 120 : 46));
    const level = roomy && cell >= 60;
    const height = roomy ? Math.min(cell, 50) : cell;
    const top = level ? 24 : Math.min(longest(view.columns, false) + 12, 160);
    return { left, counted, top, cell, height, level, gap: cell >= 9 ? 1 : 0, x: left + counted, total: top + height * view.rows.length + 2, width };
  }

  const family = getComputedStyle(document.body).fontFamily;
  const font = (size, weight = "") => `${weight} ${size}px ${family}`;

  // Cells are painted once, on a sheet of their own; moving the cursor only lays it over them.
  function paint() {
    layout = measure();
    const ratio = window.devicePixelRatio || 1;
    canvas.style.height = `${layout.total}px`;
    for (const one of [canvas, sheet]) {
      one.width = Math.round(layout.width * ratio);
      one.height = Math.round(layout.total * ratio);
    }
    context = sheet.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    colour = colours();
    drawCells();
    context = canvas.getContext("2d");
    context.setTransform(ratio, 0, 0, ratio, 0, 0);
    draw();
  }

  function draw() {
    context.clearRect(0, 0, layout.width, layout.total);
    context.drawImage(sheet, 0, 0, layout.width, layout.total);
    drawLabels();
    if (state.cell) drawCursor();
  }

  function drawCells() {
    const scale = heat();
    const digits = layout.cell >= 17 || layout.height >= 30;
    context.textAlign = "center";
    context.textBaseline = "middle";
    context.font = font(layout.level ? 13 : Math.min(11, layout.cell * 0.44));
    drawGround();
    view.rows.forEach((a, row) => {
      view.columns.forEach((p, column) => {
        const shown = value(a, p);
        const x = layout.x + column * layout.cell;
        const y = layout.top + row * layout.height;
        const [wide, high] = [layout.cell - layout.gap, layout.height - layout.gap];
        if (p !== ELSEWHERE) {
          const own = a === p && a !== SPECIAL;
          if (shown) {
            context.fillStyle = tint(shown, a, own, scale);
            context.fillRect(x, y, wide, high);
          }
          if (own && layout.gap) {
            context.strokeStyle = colour.hit(0.6);
            context.lineWidth = 1;
            context.strokeRect(x + 0.5, y + 0.5, wide - 1, high - 1);
          }
        } else if (shown && !digits) {
          context.fillStyle = colour.line;
          context.fillRect(x, y, wide, high);
        }
        if (!shown || !digits) return;
        const middle = y + high / 2 + 0.5;
        context.fillStyle = p === ELSEWHERE ? colour.soft : colour.ink;
        context.fillText(brief(shown), x + wide / 2, layout.level ? middle - 7 : middle);
        if (!layout.level) return;
        context.fillStyle = colour.soft;
        context.font = font(11);
        context.fillText(detail(a, p), x + wide / 2, middle + 9);
        context.font = font(13);
      });
    });
  }

  function drawGround() {
    const columns = view.columns.filter((p) => p !== ELSEWHERE).length;
    context.fillStyle = colour.raised;
    context.fillRect(layout.x, layout.top, columns * layout.cell, view.rows.length * layout.height);
    if (!layout.gap) return;
    context.fillStyle = colour.ground;
    for (let column = 1; column < columns; column++) {
      context.fillRect(layout.x + column * layout.cell - 1, layout.top, 1, view.rows.length * layout.height);
    }
    for (let row = 1; row < view.rows.length; row++) {
      context.fillRect(layout.x, layout.top + row * layout.height - 1, columns * layout.cell, 1);
    }
  }

  // Colours of counts and of changes are relative to the largest; those of shares are absolute, so that slices can be compared.
  function heat() {
    const scale = { hit: 0, miss: 0, change: 0 };
    for (const a of view.rows) {
      for (const p of view.columns) {
        if (p === ELSEWHERE) continue;
        const size = Math.abs(value(a, p));
        if (a === p && a !== SPECIAL) scale.hit = Math.max(scale.hit, size);
        else scale.miss = Math.max(scale.miss, size);
        scale.change = Math.max(scale.change, size);
      }
    }
    return state.unit === "rows" ? scale : { hit: 1, miss: 1, change: scale.change };
  }

  function tint(shown, a, own, scale) {
    // Mistakes are rare; the square root makes a few percent visible.
    if (state.model === "change") {
      if (a === SPECIAL) return colour.line; // whatever is said about a label no model knows is wrong
      const better = own === shown > 0;
      return (better ? colour.better : colour.miss)(0.12 + 0.6 * Math.sqrt(Math.abs(shown) / scale.change));
    }
    return own ? colour.hit(0.1 + 0.5 * (shown / scale.hit)) : colour.miss(0.12 + 0.5 * Math.sqrt(shown / scale.miss));
  }

  function drawLabels() {
    const size = Math.min(11, Math.max(9, layout.height * 0.8));
    const everyRow = Math.ceil(11 / layout.height);
    const everyColumn = Math.ceil(11 / layout.cell);
    const marked = state.cell || {};
    context.textBaseline = "middle";
    const style = (index, isMarked) => {
      context.font = font(size, isMarked ? "600" : "");
      context.fillStyle = index < LABELS && index !== ELSEWHERE ? colour.ink : colour.soft;
    };
    view.rows.forEach((a, row) => {
      if (row % everyRow && row !== marked.row) return;
      const y = layout.top + (row + 0.5) * layout.height;
      style(a, row === marked.row);
      context.textAlign = "right";
      context.fillText(fitted(name(a, true), layout.left - 8), layout.left - 6, y);
      if (!layout.counted) return;
      context.fillStyle = colour.soft;
      context.fillText(brief(leading().actual[a], true), layout.x - 8, y);
    });
    view.columns.forEach((p, column) => {
      if (column % everyColumn && column !== marked.column) return;
      style(p, column === marked.column);
      const x = layout.x + (column + 0.5) * layout.cell;
      context.save();
      context.translate(x, layout.top - 7);
      if (layout.level) context.textAlign = "center";
      else {
        context.rotate(-Math.PI / 2);
        context.textAlign = "left";
      }
      context.fillText(fitted(name(p, false), layout.level ? layout.cell - 6 : layout.top - 12), 0, 0);
      context.restore();
    });
    context.font = font(10);
    context.fillStyle = colour.soft;
    context.textAlign = "right";
    if (!layout.level) context.fillText("said →", layout.left - 6, layout.top - 24);
    context.fillText("true ↓", layout.left - 6, layout.top - 9);
    if (layout.counted) context.fillText("rows", layout.x - 8, layout.top - 9);
  }

  function drawCursor() {
    const { row, column } = state.cell;
    const x = layout.x + column * layout.cell;
    const y = layout.top + row * layout.height;
    context.fillStyle = colour.band;
    context.fillRect(layout.x, y, x - layout.x, layout.height - layout.gap);
    context.fillRect(x, layout.top, layout.cell - layout.gap, y - layout.top);
    context.strokeStyle = colour.focus;
    context.lineWidth = 2;
    context.strokeRect(x, y, layout.cell - layout.gap, layout.height - layout.gap);
  }

  // The text, or as much of it as there is room for.
  function fitted(text, room) {
    if (context.measureText(text).width <= room) return text;
    const letters = [...text];
    let [enough, tooMany] = [0, letters.length];
    while (tooMany - enough > 1) {
      const middle = (enough + tooMany) >> 1;
      if (context.measureText(`${letters.slice(0, middle).join("")}…`).width <= room) enough = middle;
      else tooMany = middle;
    }
    return `${letters.slice(0, enough).join("")}…`;
  }

  // ---- words ---------------------------------------------------------------------------------------------------------------

  function name(index, isRow) {
    if (index === ELSEWHERE) return "elsewhere";
    return index < LABELS ? data.labels[index] : isRow ? "(unseen in training)" : "(no usable scores)";
  }

  const count = (n) => n.toLocaleString("en-US", { maximumFractionDigits: 1 });
  const plural = (n, noun) => `${count(n)} ${noun}${n === 1 ? "" : noun.endsWith("s") ? "es" : "s"}`;
  const percent = (n) => (Number.isFinite(n) ? `${(100 * n).toFixed(1)}%` : "–");
  const signed = (text, n) => (n > 0 ? `+${text}` : text.replace("-", "−"));

  function brief(n, isCount = false) {
    if (!Number.isFinite(n)) return "";
    const change = state.model === "change" && !isCount;
    if (state.unit !== "rows" && !isCount) {
      const whole = Math.round(100 * n);
      const text = layout.level ? `${whole}%` : String(whole);
      return whole ? (change ? signed(text, n) : text) : "·";
    }
    const size = Math.abs(n);
    const text = size >= 9995 ? `${Math.round(n / 1000)}k` : size >= 1000 && !isCount ? `${(n / 1000).toFixed(1)}k` : count(Math.round(n));
    return change ? signed(text, n) : text;
  }

  // The other of rows and share, for cells with room for two lines.
  function detail(a, p) {
    const change = state.model === "change";
    const model = leading();
    const n = change ? rows(view.ours, a, p) - rows(view.theirs, a, p) : rows(model, a, p);
    if (state.unit !== "rows") return change ? `${signed(count(n), n)} rows` : plural(n, "row");
    return change ? "" : percent(n / model.actual[a]);
  }

  function described({ row, column }) {
    const [a, p] = [view.rows[row], view.columns[column]];
    const verb = p === ELSEWHERE ? "taken for classes not shown" : a === p && a !== SPECIAL ? "recognised" : `taken for ${name(p, false)}`;
    const lines = [`${name(a, true)} ${verb}`];
    const say = (model, who) => {
      const n = rows(model, a, p);
      const of = [`${percent(n / model.actual[a])} of the true class`];
      if (p !== ELSEWHERE) of.push(`${percent(n / model.predicted[p])} of these answers`);
      lines.push(`${who}${plural(n, "row")}${n ? `, ${of.join(", ")}` : ""}`);
    };
    if (state.model !== "baseline") say(view.ours, view.theirs ? "This model: " : "");
    if (view.theirs) say(view.theirs, `The ${BEFORE}: `);
    return lines;
  }

  function tell() {
    const slice = data.slices[state.slice];
    const accuracy = (model) => (model.all ? (model.hits / model.all).toFixed(3) : "–");
    const words = [`accuracy ${accuracy(view.ours)}`];
    if (view.theirs) words.push(`${BEFORE} ${accuracy(view.theirs)}`);
    if (slice.small) words.push("too small to judge");
    const of = slice.group ? `${slice.group}: ${slice.name}, ${plural(slice.n, "test row")}` : `${slice.name}: ${count(slice.n)}`;
    summary.textContent = `${of} – ${words.join(", ")}`;
    const cells = { rows: "rows", actual: "percent of the true class", predicted: "percent of the answers with that class" }[state.unit];
    const hidden = LABELS + data.others - view.shown.length;
    const left = hidden ? ` ${plural(hidden, "class")} not shown; what went there is “elsewhere”.` : "";
    const tones = state.model === "change" ? ["better", `better than the ${BEFORE}`, "worse", "worse"] : ["right", "right", "wrong", "wrong"];
    legend.replaceChildren(
      element("span", `swatch ${tones[0]}`), `${tones[1]} `, element("span", `swatch ${tones[2]}`), `${tones[3]}. `,
      `${state.model === "change" ? "Change of the " : "Cells: "}${cells}${state.unit === "rows" ? "" : ", rounded"}.${left}`,
    );
  }

  function element(kind, className, text) {
    const made = document.createElement(kind);
    if (className) made.className = className;
    if (text !== undefined) made.textContent = text;
    return made;
  }

  function listPairs() {
    const change = state.model === "change";
    const model = leading();
    const lines = view.mistakes.slice(0, PAIRS).map(({ a, p, n }) => {
      const line = document.createElement("tr");
      const head = element("th");
      head.scope = "row";
      const button = element("button", "link", name(a, true));
      button.type = "button";
      button.setAttribute("aria-label", `Show ${name(a, true)} taken for ${name(p, false)} in the matrix`);
      button.addEventListener("click", () => reveal(a, p));
      head.append(button);
      const part = n / model.actual[a];
      line.append(head, element("td", "", name(p, false)), element("td", "num", change ? signed(count(n), n) : count(n)));
      const before = view.theirs && rows(view.theirs, a, p);
      if (view.theirs) line.append(element("td", "num", change ? `${count(before)} → ${count(before + n)}` : count(before)));
      line.append(element("td", "num", change ? (a === SPECIAL ? "" : n < 0 ? "better" : "worse") : percent(part)));
      return line;
    });
    const heads = ["True class", "taken for", change ? "Change" : "Rows"];
    if (view.theirs) heads.push(change ? "Rows before → now" : `Rows, ${BEFORE}`);
    heads.push(change ? "" : "Of the true class");
    const top = document.createElement("tr");
    heads.forEach((text, i) => {
      const head = element("th", i > 1 ? "num" : "", text);
      head.scope = "col";
      top.append(head);
    });
    pairs.tHead.replaceChildren(top);
    pairs.tBodies[0].replaceChildren(...lines);
    pairs.caption.textContent = lines.length
      ? change ? "The confusions that changed most" : "The most frequent confusions of this choice"
      : "No row of this slice was taken for another class.";
  }

  // ---- interaction ---------------------------------------------------------------------------------------------------------

  function update() {
    const slice = data.slices[state.slice];
    view = { ours: decode(slice.cells), theirs: slice.before && decode(slice.before) };
    view.mistakes = mistakes();
    view.shown = ordered(chosen());
    view.rows = [...view.shown];
    view.columns = [...view.shown];
    const some = (key) => [view.ours, view.theirs].some((model) => model && model[key][SPECIAL]);
    if (some("actual")) view.rows.push(SPECIAL);
    if (some("predicted")) view.columns.push(SPECIAL);
    if (view.shown.length < LABELS + data.others) view.columns.push(ELSEWHERE);
    state.cell = null;
    tip.hidden = true;
    paint();
    tell();
    listPairs();
    root.dataset.shown = view.shown.length;
  }

  function select(cell) {
    state.cell = cell;
    draw();
    tip.hidden = !cell;
    if (!cell) return;
    tip.replaceChildren(...described(cell).map((line, i) => element("div", i ? "" : "head", line)));
    const x = layout.x + (cell.column + 0.5) * layout.cell;
    const y = layout.top + (cell.row + 1) * layout.height + 8;
    const left = Math.max(0, Math.min(x - tip.offsetWidth / 2, layout.width - tip.offsetWidth));
    const below = y + tip.offsetHeight < layout.total + 60;
    tip.style.left = `${left}px`;
    tip.style.top = `${below ? y : y - layout.height - tip.offsetHeight - 16}px`;
  }

  function at(event) {
    const place = canvas.getBoundingClientRect();
    const column = Math.floor((event.clientX - place.left - layout.x) / layout.cell);
    const row = Math.floor((event.clientY - place.top - layout.top) / layout.height);
    const inside = column >= 0 && row >= 0 && column < view.columns.length && row < view.rows.length;
    return inside ? { row, column } : null;
  }

  const same = (one, other) => one && other && one.row === other.row && one.column === other.column;

  function zoom(indices) {
    state.centre = [...new Set(indices.filter((index) => index >= 0 && index < LABELS))];
    around.value = state.centre.length === 1 ? data.labels[state.centre[0]] : "";
    classes.value = state.centre.length ? "around" : String(state.size);
    update();
  }

  function reveal(a, p) {
    if (!view.rows.includes(a) || !view.columns.includes(p)) zoom([a, p]);
    select({ row: view.rows.indexOf(a), column: view.columns.indexOf(p) });
    stage.scrollIntoView({ block: "nearest" });
  }

  function press(event) {
    const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const { row, column } = state.cell || { row: 0, column: 0 };
    const last = { row: view.rows.length - 1, column: view.columns.length - 1 };
    if (event.key in moves) {
      const [down, right] = state.cell ? moves[event.key] : [0, 0];
      select({ row: Math.max(0, Math.min(last.row, row + down)), column: Math.max(0, Math.min(last.column, column + right)) });
    } else if (event.key === "Home") select({ row, column: 0 });
    else if (event.key === "End") select({ row, column: last.column });
    else if (event.key === "Enter" && state.cell) zoom([view.rows[row], view.columns[column]]);
    else if (event.key === "Escape") zoom([]);
    else return;
    event.preventDefault();
    if (state.cell) tip.scrollIntoView({ block: "nearest" });
  }

  function option(text, choice) {
    const made = element("option", "", text);
    made.value = choice;
    return made;
  }

  function fillControls() {
    let group = slices;
    data.slices.forEach((slice, i) => {
      if (slice.group && group.label !== slice.group) {
        group = document.createElement("optgroup");
        group.label = slice.group;
        slices.append(group);
      }
      group.append(option(`${slice.name} (${count(slice.n)}${slice.small ? ", small" : ""})`, i));
    });
    classes.append(option(data.others ? `the ${LABELS} most confused` : `all ${LABELS}`, LABELS));
    for (const size of PRESETS) classes.append(option(`the ${size} most confused`, size));
    classes.append(option("around a class…", "around"));
    part("names").append(...data.labels.map((label) => option(label, label)));
    part("slices").hidden = data.slices.length < 2;
    part("models").hidden = !data.slices[0].before;
    part("subset").hidden = LABELS < 9;
    part("finder").hidden = LABELS < 9;
  }

  function listen() {
    slices.addEventListener("change", () => { state.slice = Number(slices.value); update(); });
    order.addEventListener("change", () => { state.order = ORDERS.includes(order.value) ? order.value : "name"; update(); });
    classes.addEventListener("change", () => {
      if (classes.value === "around") return around.focus();
      state.size = Number(classes.value);
      zoom([]);
    });
    around.addEventListener("change", () => {
      const wanted = data.labels.indexOf(around.value);
      if (wanted >= 0 || !around.value) zoom(wanted >= 0 ? [wanted] : []);
    });
    for (const choice of root.querySelectorAll("input[type=radio]")) {
      choice.addEventListener("change", () => { state[choice.name] = choice.value; update(); });
    }
    canvas.addEventListener("pointermove", (event) => { const cell = at(event); if (!same(cell, state.cell)) select(cell); });
    canvas.addEventListener("pointerleave", () => { if (document.activeElement !== canvas) select(null); });
    canvas.addEventListener("click", (event) => {
      const cell = at(event);
      const crowded = layout.cell < LEGIBLE;
      if (cell && crowded) zoom([view.rows[cell.row], view.columns[cell.column]]);
    });
    canvas.addEventListener("keydown", press);
    canvas.addEventListener("blur", () => select(null));
    window.matchMedia("(prefers-color-scheme: dark)").addEventListener("change", paint);
    let width = stage.clientWidth;
    new ResizeObserver(() => {
      // A page that is being put away has no width, and nothing to paint.
      if (!stage.clientWidth || stage.clientWidth === width) return;
      width = stage.clientWidth;
      state.cell = null;
      tip.hidden = true;
      paint();
    }).observe(stage);
  }

  // What fits at a readable size is the first view; everything is one choice away.
  function firstView() {
    update();
    for (const size of PRESETS) {
      if (layout.cell >= LEGIBLE) break;
      state.size = size;
      update();
    }
    classes.value = String(state.size);
  }

  root.hidden = false;
  fillControls();
  firstView();
  listen();
  for (const fallback of document.querySelectorAll("[data-static]")) fallback.hidden = true;
})();
