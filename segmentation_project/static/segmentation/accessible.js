// What Unfold's pages lack for the keyboard, for screen readers and for quick fingers.
(() => {
  const SCROLLERS = ".seg-scroll, .seg-tall, .seg-checks";
  const CLICKED = "[x-on\\:click]:not(button, input, select, a[href], label, summary, table *)";
  const ICONS = ".material-symbols-outlined";
  const ICON_NAMES = {
    add: "Add",
    dock_to_right: "Show or hide the navigation",
    donut_small: "Overview",
    search: "Search",
  };

  // An icon is a word in a font of pictures: it would be read out.
  const hideIcons = () =>
    document.querySelectorAll(ICONS).forEach((icon) => {
      const word = icon.textContent.trim();
      const control = icon.closest("a, button, [role=button]");
      if (control && control.textContent.trim() === word && !control.hasAttribute("aria-label"))
        control.setAttribute("aria-label", control.title || ICON_NAMES[word] || word);
      if (control !== icon) icon.setAttribute("aria-hidden", "true");
    });

  const makeButton = (node) => {
    node.tabIndex = 0;
    node.setAttribute("role", "button");
    node.addEventListener("keydown", (event) => {
      if (event.target !== node || (event.key !== "Enter" && event.key !== " ")) return;
      event.preventDefault();
      node.click();
    });
  };

  const nameOf = (box) => {
    const inside = box.querySelector("caption");
    const before = box.closest("section, article, .seg-card")?.querySelector("h2, h3, h4, summary");
    return (inside || before || document.querySelector("h1, h2"))?.textContent.trim() || "Table";
  };

  const lookAtScroller = (box) => {
    const scrolls =
      box.scrollWidth > box.clientWidth + 1 || box.scrollHeight > box.clientHeight + 1;
    if (scrolls && !box.hasAttribute("tabindex")) {
      box.tabIndex = 0;
      box.setAttribute("role", "group");
      box.setAttribute("aria-label", nameOf(box));
      box.dataset.scrolls = "";
    } else if (!scrolls && "scrolls" in box.dataset) {
      for (const name of ["tabindex", "role", "aria-label", "data-scrolls"]) box.removeAttribute(name);
    }
  };
  const sizes = new ResizeObserver((all) => all.forEach(({ target }) => lookAtScroller(target)));
  const watchScrollers = () =>
    document.querySelectorAll(SCROLLERS).forEach((box) => sizes.observe(box));

  const wordsOf = (node) => {
    const words = node?.cloneNode(true);
    words?.querySelectorAll(ICONS).forEach((icon) => icon.remove());
    return words?.textContent.trim();
  };

  // On a phone each cell of a list bears its column's name; Unfold takes the first for a box to tick.
  const nameFirstCells = () => {
    const heading = wordsOf(document.querySelector("#result_list thead th"));
    document.querySelectorAll("#result_list tbody td:first-child[data-label]").forEach((cell) => {
      if (heading && !cell.querySelector("input")) cell.dataset.label = heading;
    });
  };

  // The sheet of a list's filters lies over the page: the focus goes in, stays, and comes back.
  const REACHED = "a[href], button, input:not([type=hidden]), select, textarea, [tabindex='0']";
  const watchFilters = () => {
    const sheet = document.getElementById("changelist-filter");
    if (!sheet) return;
    const inside = () =>
      [...sheet.querySelectorAll(REACHED)].filter((node) => node.getClientRects().length);
    let opener = null;
    new MutationObserver(() => {
      const { display, position } = getComputedStyle(sheet);
      const isOpen = display !== "none" && position === "fixed";
      if (isOpen && !opener) {
        opener = document.activeElement;
        inside()[0]?.focus();
      } else if (!isOpen && opener) {
        opener.focus();
        opener = null;
      }
    }).observe(sheet, { attributeFilter: ["style"] });
    sheet.addEventListener("keydown", (event) => {
      if (event.key !== "Tab" || !opener) return;
      const all = inside();
      const end = event.shiftKey ? all[0] : all.at(-1);
      if (document.activeElement !== end) return;
      event.preventDefault();
      (event.shiftKey ? all.at(-1) : all[0]).focus();
    });
  };

  // A double click is one request: a second one would train, import or check the same again.
  const ONE_CLICK = 2000; // milliseconds
  addEventListener("submit", (event) => {
    const { sentAt } = event.target.dataset;
    if (sentAt && event.timeStamp - sentAt < ONE_CLICK) event.preventDefault();
    else if (!event.defaultPrevented) event.target.dataset.sentAt = event.timeStamp;
  });

  addEventListener("DOMContentLoaded", () => {
    const content = document.getElementById("content");
    content?.setAttribute("role", "main");
    content?.setAttribute("tabindex", "-1");
    document.querySelectorAll(CLICKED).forEach(makeButton);
    hideIcons();
    watchScrollers();
    nameFirstCells();
    watchFilters();
  });
  addEventListener("htmx:afterSettle", () => {
    hideIcons();
    watchScrollers();
  });
})();
