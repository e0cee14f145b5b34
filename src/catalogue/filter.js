
"use strict";
(() => {
  const box = document.getElementById("filter");
  const found = document.getElementById("found");
  const lines = [...document.querySelectorAll(".index li")];
  const products = lines.map((line) => document.getElementById(line.querySelector("a").hash.slice(1)));
  const sections = new Set(products.map((product) => product.parentElement));
  const texts = products.map((product) => (product.id + " " + product.textContent).toLowerCase());
  const filter = () => {
    const words = box.value.toLowerCase().split(/\s+/);
    let shown = 0;
    lines.forEach((line, index) => {
      const fits = words.every((word) => texts[index].includes(word));
      line.hidden = products[index].hidden = !fits;
      shown += Number(fits);
    });
    // A domain without a match goes with its heading.
    document.querySelectorAll(".index").forEach((list) => {
      const none = [...list.children].every((line) => line.hidden);
      list.hidden = list.previousElementSibling.hidden = none;
    });
    sections.forEach((section) => {
      section.hidden = [...section.querySelectorAll(".product")].every((product) => product.hidden);
    });
    found.textContent = box.value.trim() === "" ? "" : shown + " of " + lines.length + " contracts";
  };
  box.addEventListener("input", filter);
  document.getElementById("search").hidden = false;
  filter();
  addEventListener("beforeprint", () => document.querySelectorAll("details").forEach((details) => { details.open = true; }));
})();
