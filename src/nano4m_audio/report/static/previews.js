// A picture and a sound beside the name of a clip in tables and lists, from the files of clips.html.
const preview = (() => {
  const block = document.getElementById("clip-files");
  const files = new Map(block ? Object.entries(JSON.parse(block.textContent)) : []);
  let playing = null;

  function stop() {
    if (!playing) return;
    playing.sound.pause();
    playing.button.textContent = "\u25b6";
    playing.button.setAttribute("aria-pressed", "false");
    playing = null;
  }

  function toggle(button, name) {
    const same = playing?.button === button;
    stop();
    if (same) return;
    const sound = new Audio(`${name}.mp3`);
    playing = { button, sound };
    button.textContent = "\u25a0";
    button.setAttribute("aria-pressed", "true");
    sound.addEventListener("ended", stop);
    sound.play().catch(() => playing?.sound === sound && stop()); // the file is not there
  }

  // Put them before a link to a clip, where its files are known.
  return (link, id) => {
    const name = files.get(id);
    if (!name) return;
    const picture = document.createElement("img");
    Object.assign(picture, { src: `${name}.jpg`, loading: "lazy", width: 96, height: 32, alt: "" });
    picture.addEventListener("error", () => picture.remove());
    const button = document.createElement("button");
    Object.assign(button, { type: "button", textContent: "\u25b6" });
    button.setAttribute("aria-label", `play the sound of ${id}`);
    button.setAttribute("aria-pressed", "false");
    button.addEventListener("click", () => toggle(button, name));
    const box = document.createElement("span");
    box.className = "preview";
    box.append(picture, button);
    link.before(box);
  };
})();

for (const link of document.querySelectorAll("td a.clip")) {
  preview(link, decodeURIComponent(link.hash.slice(1)));
}
