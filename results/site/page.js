// What a page can do beside being read: tables that sort and filter, commands that copy. Without it every word is there all the same.
(() => {
  const number = (text) => {
    const found = text.replace(/−/g, "-").replace(/(\d),(?=\d{3})/g, "$1").match(/[-+]?\d+(\.\d+)?/);
    return found ? parseFloat(found[0]) : null;
  };
  const isNumber = (head) => head.hasAttribute("data-number");
  const cellOf = (group, index) => {
    const row = group.matches("tr") ? group : group.querySelector("tr");
    return row && row.children[index];
  };
  const textOf = (group, index) => {
    const cell = cellOf(group, index);
    return cell ? (cell.dataset.value ?? cell.textContent).trim() : "";
  };
  // Rows that move together: bodies of a table that has several, otherwise rows, each with those that stand under it.
  const groupsOf = (table) => {
    const bodies = [...table.tBodies];
    return bodies.length > 1 ? bodies.map((body) => [body]) : [...(bodies[0]?.rows ?? [])].reduce((groups, row) => {
      row.classList.contains("under") && groups.length ? groups.at(-1).push(row) : groups.push([row]);
      return groups;
    }, []);
  };

  const sort = (table, index, down) => {
    const numeric = isNumber(table.tHead.rows[0].cells[index]);
    const key = ([first]) => {
      const text = textOf(first, index);
      return numeric ? number(text) : /^(–|not run)?$/.test(text) ? null : text.toLowerCase();
    };
    const keyed = groupsOf(table).map((group) => [key(group), group]);
    keyed.sort(([a], [b]) => {
      if (a === null || b === null) return (a === null) - (b === null);
      const order = numeric ? a - b : a.localeCompare(b, "en", { numeric: true });
      return down ? -order : order;
    });
    for (const [, group] of keyed) for (const element of group) element.parentNode.append(element);
  };
  for (const table of document.querySelectorAll("table.sortable")) {
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const before = head.getAttribute("aria-sort");
        const down = before ? before === "ascending" : isNumber(head);
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", down ? "descending" : "ascending");
        sort(table, index, down);
      });
    });
  }

  const labelled = (words, field) => {
    const label = document.createElement("label");
    label.append(words + " ", field);
    return label;
  };
  const filters = (table) => {
    const groups = groupsOf(table), bar = document.createElement("form"), count = document.createElement("output");
    const search = document.createElement("input");
    search.type = "search";
    const chosen = [];
    bar.className = "filters";
    bar.append(labelled("find", search));
    [...table.tHead.rows[0].cells].forEach((head, index) => {
      if (!head.hasAttribute("data-choose")) return;
      const select = document.createElement("select");
      const values = [...new Set(groups.map(([first]) => textOf(first, index)))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
      select.append(...["", ...values].map((value) => new Option(value || "all", value)));
      chosen.push([select, index]);
      bar.append(labelled(head.textContent.trim(), select));
    });
    const apply = () => {
      const words = search.value.toLowerCase().split(/\s+/).filter(Boolean);
      let shown = 0;
      for (const group of groups) {
        const text = group.map((element) => element.textContent).join(" ").toLowerCase();
        const fits = words.every((word) => text.includes(word))
          && chosen.every(([select, index]) => !select.value || textOf(group[0], index) === select.value);
        for (const element of group) element.hidden = !fits;
        shown += fits;
      }
      count.value = shown === groups.length ? `${shown} rows` : `${shown} of ${groups.length} rows`;
    };
    bar.addEventListener("input", apply);
    bar.addEventListener("submit", (event) => event.preventDefault());
    bar.append(count);
    apply();
    return bar;
  };
  for (const table of document.querySelectorAll("table.filterable")) table.closest(".scroll").before(filters(table));

  const copied = async (text) => {
    try {
      await navigator.clipboard.writeText(text);
    } catch {
      const field = document.createElement("textarea");
      field.value = text;
      document.body.append(field);
      field.select();
      document.execCommand("copy");
      field.remove();
    }
  };
  const copyButton = (code) => {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copy";
    button.textContent = "Copy";
    button.setAttribute("aria-label", `Copy ${code.textContent.slice(0, 80)}`);
    button.addEventListener("click", async () => {
      await copied(code.textContent);
      button.textContent = "Copied";
      setTimeout(() => { button.textContent = "Copy"; }, 1500);
    });
    code.after(" ", button);
  };
  document.querySelectorAll(".command code, :not(.all) code.line").forEach((code) => code.closest(".all") || copyButton(code));
  // Thousands of runs: their commands get a button when they are opened.
  document.addEventListener("toggle", ({ target }) => {
    if (target.open && target.closest(".all") && !target.querySelector(".copy")) target.querySelectorAll("code.line").forEach(copyButton);
  }, true);
})();
