// Loads the overview anew every ten seconds while somebody looks and wants it. Nothing else needs
// a script.
const place = document.querySelector(".refresh");
if (place) {
  const key = "refresh";
  const box = Object.assign(document.createElement("input"), { type: "checkbox" });
  const label = document.createElement("label");
  label.append(box, " ", place.dataset.label);
  place.append(label);
  box.checked = sessionStorage.getItem(key) !== "off";
  box.addEventListener("change", () => sessionStorage.setItem(key, box.checked ? "on" : "off"));
  setInterval(() => {
    const busy = document.hidden || document.querySelector("details[open]");
    if (box.checked && !busy) location.replace(location.pathname);
  }, 10_000);
}
