"use strict";
// Tables with an id sort by any column, filter by text and by factor level, and hide columns. What is shown is kept in
// the page's fragment, to be shared: #view=TABLE&sort=COLUMN&down=1&text=...&level:FACTOR=LEVEL&show=COLUMN&show=...
// Without this script every table is complete, in the order of the file.

const element = (name, properties = {}, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const number = (text) => {
  const found = text.replaceAll(",", "").match(/-?\d+(\.\d+)?(e[+-]?\d+)?/);
  return found ? Number(found[0]) : NaN;
};

class View {
  constructor(table) {
    this.table = table;
    this.body = table.tBodies[0];
    this.rows = [...this.body.rows];
    this.heads = [...table.tHead.rows[0].cells];
    this.names = this.heads.map((head) => head.textContent.trim());
    this.levels = this.rows.map((row) => JSON.parse(row.dataset.levels));
    this.factors = JSON.parse(table.dataset.factors).filter((factor) => this.levelsOf(factor).length > 1);
    this.heads.forEach((head, column) => this.makeSortable(head, column));
    this.makeControls();
    this.reset();
  }

  levelsOf(factor) {
    return [...new Set(this.levels.filter((row) => factor in row).map((row) => row[factor]))];
  }

  makeSortable(head, column) {
    const button = element("button", { type: "button" }, ...head.childNodes);
    button.addEventListener("click", () => {
      const down = this.sort === column && !this.down;
      this.change({ sort: column, down });
    });
    head.append(button);
  }

  makeControls() {
    this.search = element("input", { type: "search" });
    this.search.addEventListener("input", () => this.change({ text: this.search.value }));
    this.choices = this.factors.map((factor) => {
      const select = element("select", {}, element("option", { value: "" }, "all"));
      select.append(...this.levelsOf(factor).map((level) => element("option", { value: level }, level)));
      select.addEventListener("change", () => this.change({ chosen: { ...this.chosen, [factor]: select.value } }));
      return select;
    });
    this.boxes = this.names.map((name, column) => {
      const box = element("input", { type: "checkbox" });
      box.addEventListener("change", () => {
        const shown = new Set(this.shown);
        if (box.checked) shown.add(column);
        else shown.delete(column);
        this.change({ shown });
      });
      return box;
    });
    const columns = this.boxes.map((box, column) => element("label", {}, box, this.names[column]));
    const reset = element("button", { type: "button" }, "Reset");
    reset.addEventListener("click", () => { this.reset(); history.replaceState(null, "", location.pathname + location.search); });
    this.count = element("span", { role: "status", className: "muted" });
    const controls = element(
      "div",
      { className: "controls" },
      element("label", {}, "Filter", this.search),
      ...this.factors.map((factor, i) => element("label", {}, factor, this.choices[i])),
      element("details", {}, element("summary", {}, "Columns"), element("div", {}, ...columns)),
      reset,
      this.count,
    );
    this.table.closest(".scroll").before(controls);
  }

  reset() {
    const shown = new Set(this.names.keys());
    this.heads.forEach((head, column) => { if ("extra" in head.dataset) shown.delete(column); });
    Object.assign(this, { sort: null, down: false, text: "", chosen: {}, shown });
    this.draw();
  }

  change(state) {
    Object.assign(this, state);
    this.draw();
    history.replaceState(null, "", `#${this.fragment()}`);
  }

  fragment() {
    const state = new URLSearchParams({ view: this.table.id });
    if (this.sort !== null) state.set("sort", this.names[this.sort]);
    if (this.down) state.set("down", "1");
    if (this.text) state.set("text", this.text);
    for (const [factor, level] of Object.entries(this.chosen)) if (level) state.set(`level:${factor}`, level);
    for (const column of this.shown) state.append("show", this.names[column]);
    return state.toString();
  }

  restore(state) {
    const column = this.names.indexOf(state.get("sort"));
    const shown = state.getAll("show").map((name) => this.names.indexOf(name)).filter((i) => i >= 0);
    const chosen = Object.fromEntries(this.factors.map((factor) => [factor, state.get(`level:${factor}`) ?? ""]));
    Object.assign(this, { sort: column < 0 ? null : column, down: state.has("down"), text: state.get("text") ?? "", chosen });
    if (shown.length) this.shown = new Set(shown);
    this.draw();
    for (let box = this.table.closest("details"); box; box = box.parentElement.closest("details")) box.open = true;
  }

  draw() {
    const order = this.sort === null ? this.rows : [...this.rows].sort((a, b) => this.compare(a, b));
    this.body.append(...order);
    const wanted = this.text.toLowerCase();
    this.rows.forEach((row, i) => {
      // An estimator without training has no levels: it stays, to be compared with.
      const own = this.levels[i];
      const fits = this.factors.every((f) => !this.chosen[f] || !(f in own) || own[f] === this.chosen[f]);
      row.hidden = !(fits && row.textContent.toLowerCase().includes(wanted));
    });
    this.heads.forEach((head, column) => {
      if (column === this.sort) head.ariaSort = this.down ? "descending" : "ascending";
      else head.removeAttribute("aria-sort");
      for (const row of [this.table.tHead.rows[0], ...this.rows]) row.cells[column].hidden = !this.shown.has(column);
      this.boxes[column].checked = this.shown.has(column);
    });
    this.search.value = this.text;
    this.choices.forEach((select, i) => { select.value = this.chosen[this.factors[i]] ?? ""; });
    const left = this.rows.filter((row) => !row.hidden).length;
    this.count.textContent = left === this.rows.length ? `${left} rows` : `${left} of ${this.rows.length} rows`;
  }

  compare(a, b) {
    const [x, y] = [a, b].map((row) => row.cells[this.sort].textContent.trim());
    const empty = (x === "") - (y === "");
    if (empty) return empty; // what is missing stands last, whichever way
    const numeric = this.heads[this.sort].classList.contains("number");
    const found = numeric ? number(x) - number(y) : x.localeCompare(y, undefined, { numeric: true });
    return this.down ? -found : found;
  }
}

const views = new Map([...document.querySelectorAll("table[id]")].map((table) => [table.id, new View(table)]));
const follow = () => {
  const state = new URLSearchParams(location.hash.slice(1));
  views.get(state.get("view"))?.restore(state);
};
addEventListener("hashchange", follow);
follow();
