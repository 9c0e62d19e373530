"use strict";
// Everything here adds to pages that work without it.
(() => {
  const root = document.documentElement, $ = (s, of = document) => of.querySelector(s);
  root.classList.add("js");

  // Search as you type: the same page as the form would open, its results put in
  // the place of the old ones.
  const finder = $("#finder");
  if (finder) {
    let timer, asked;
    const address = () => {
      const q = new URLSearchParams();
      for (const [k, v] of new FormData(finder)) if (v.trim()) q.set(k, v.trim());
      return finder.getAttribute("action") + (q.size ? "?" + q : "");
    };
    const show = async (to) => {
      asked?.abort();
      const mine = asked = new AbortController();
      $("#results").setAttribute("aria-busy", "true");
      try {
        const r = await fetch(to, { signal: mine.signal, headers: { Accept: "text/html" } });
        const page = new DOMParser().parseFromString(await r.text(), "text/html"), found = $("#results", page);
        if (!r.ok || !found) throw new Error();
        $("#results").replaceWith(found);
        const tags = $("#tags", page);
        if (tags) $("#tags").replaceWith(tags);
        document.title = page.title;
        history.replaceState(null, "", to);
      } catch {
        if (!mine.signal.aborted) location.assign(to); // the server says what is wrong
      }
    };
    const soon = (ms) => { clearTimeout(timer); timer = setTimeout(() => show(address()), ms); };
    finder.addEventListener("input", (e) => soon(e.target.type === "search" || e.target.type === "text" ? 150 : 0));
    finder.addEventListener("submit", (e) => { e.preventDefault(); soon(0); });
    addEventListener("pageshow", (e) => { if (!e.persisted && $("#q").value.trim() !== (new URLSearchParams(location.search).get("q") || "")) soon(0); });
  }

  // A picture that can't be had leaves its place as if there were none.
  const noPicture = (img) => { if (img.matches?.(".poster img")) img.remove(); };
  addEventListener("error", (e) => noPicture(e.target), true);
  for (const img of document.images) if (img.complete && img.getAttribute("src") && !img.naturalWidth) noPicture(img);

  // Arrow keys go through a grid.
  addEventListener("keydown", (e) => {
    const at = e.target.closest?.(".grid .card a");
    if (!at || e.altKey || e.ctrlKey || e.metaKey) return;
    const all = [...at.closest(".grid").querySelectorAll(".card a")], i = all.indexOf(at);
    const wide = Math.max(1, all.findIndex((a) => a.getBoundingClientRect().top > all[0].getBoundingClientRect().top + 4));
    const to = { ArrowLeft: i - 1, ArrowRight: i + 1, ArrowUp: i - wide, ArrowDown: i + wide, Home: 0, End: all.length - 1 }[e.key];
    if (all[to]) { e.preventDefault(); all[to].focus(); }
  });

  // The player. A link of the storage ends after a while: then the same address gives
  // another one, and the clip goes on where it was.
  const video = $("#player");
  if (video) {
    const from = video.getAttribute("src"), trouble = $("#trouble");
    let place = 0, tries = 0, wanted = false;
    const again = () => {
      const t = place, play = wanted;
      trouble.hidden = true;
      video.addEventListener("loadedmetadata", () => {
        video.currentTime = t;
        if (play) video.play().catch(() => {});
      }, { once: true });
      video.src = from + "?again=" + Date.now();
      video.load();
    };
    video.addEventListener("timeupdate", () => {
      if (video.error || video.readyState < 2) return;
      if (video.currentTime > place + 2) tries = 0;
      place = video.currentTime;
    });
    video.addEventListener("loadedmetadata", () => { video.parentNode.classList.toggle("upright", video.videoHeight > video.videoWidth); });
    video.addEventListener("seeking", () => { if (!video.error && video.readyState) place = video.currentTime; });
    video.addEventListener("play", () => { wanted = true; });
    video.addEventListener("pause", () => { if (!video.error) wanted = false; });
    video.addEventListener("error", () => {
      if (tries++ < 3) setTimeout(again, 400 * (tries - 1));
      else trouble.hidden = false;
    });
    if (video.error) again(); // it failed before this script ran
    $("[data-again]").addEventListener("click", () => { tries = 0; wanted = true; again(); });

    const go = (s) => { video.currentTime = Math.max(0, Math.min(video.duration || 0, video.currentTime + s)); };
    const turn = (rel) => { const a = $(`a[rel=${rel}]`); if (a) a.click(); };
    const toggle = () => { if (video.paused) video.play().catch(() => {}); else video.pause(); };
    const keys = {
      " ": toggle, k: toggle, j: () => go(-10), l: () => go(10), ArrowLeft: () => go(-5), ArrowRight: () => go(5),
      ",": () => { video.pause(); go(-1 / 25); }, ".": () => { video.pause(); go(1 / 25); }, m: () => { video.muted = !video.muted; },
      f: () => { if (document.fullscreenElement) document.exitFullscreen(); else video.requestFullscreen?.().catch(() => {}); },
      n: () => turn("next"), p: () => turn("prev"),
    };
    addEventListener("keydown", (e) => {
      const press = keys[e.key.length === 1 ? e.key.toLowerCase() : e.key];
      if (!press || e.defaultPrevented || e.altKey || e.ctrlKey || e.metaKey || typing(e.target)) return;
      if (e.target.closest("a, button, summary") && (e.key === " " || e.key.startsWith("Arrow"))) return;
      e.preventDefault();
      press();
    }, { capture: true });
  }

  const typing = (el) => el.closest("input, select, textarea");
  addEventListener("keydown", (e) => {
    const field = $("#q");
    if (e.key !== "/" || !field || typing(e.target) || e.altKey || e.ctrlKey || e.metaKey) return;
    e.preventDefault();
    field.focus();
    field.select();
  });

  // Copying.
  addEventListener("click", async (e) => {
    const b = e.target.closest("[data-copy]");
    if (!b) return;
    const text = new URL(b.dataset.copy, location.href).href, name = b.textContent;
    try {
      await navigator.clipboard.writeText(text);
    } catch { // only pages over https may use it
      const area = document.body.appendChild(document.createElement("textarea"));
      area.value = text;
      area.select();
      document.execCommand("copy");
      area.remove();
    }
    b.textContent = "Copied";
    setTimeout(() => { b.textContent = name; }, 2000);
  });

  // Choosing clips of an export.
  const picker = $(".picker");
  if (picker) {
    const boxes = [...picker.querySelectorAll("[name=clip]")], all = $("[data-all]", picker), button = $("[data-picked]", picker);
    const update = () => {
      const n = boxes.filter((b) => b.checked).length;
      button.disabled = !n;
      button.textContent = n ? `Download ${n} ${n === 1 ? "clip" : "clips"}` : "Download those ticked";
      all.checked = n === boxes.length;
      all.indeterminate = n > 0 && n < boxes.length;
    };
    all.addEventListener("change", () => { for (const b of boxes) b.checked = all.checked; update(); });
    picker.addEventListener("change", update);
    update();
  }
  for (const field of document.querySelectorAll("input.link")) field.addEventListener("focus", () => field.select());
})();
