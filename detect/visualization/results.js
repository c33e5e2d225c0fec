"use strict";
// Text reaches the page through textContent and title alone, so that names are never markup.
const data = JSON.parse(document.getElementById("data").textContent);
const ROWS = 200; // of the table, at first and with each click on "Show more"
const MANY_VIDEOS = 50; // browsers limit the number of players
const LANE = 23; // pixels
const byId = (id) => document.getElementById(id);
const filter = { label: -1, score: 0, unnamed: true };

function element(name, className = "", text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

function showTime(value, video) {
  return video.unit === "s" ? `${value.toFixed(2)} s` : `frame ${value}`;
}

// All actions of the page, for the table; `row` is the place of the person in the video.
const actions = data.videos.flatMap((video, index) =>
  video.actions.map(([row, label, start, end, score, lane]) => ({
    video, index, row, person: video.people[row].person, label: data.labels[label],
    labelIndex: label, start, end, score, lane,
  })));
for (const action of actions) (action.video.shown ??= []).push(action);

function isShown(action) {
  return (filter.label < 0 || action.labelIndex === filter.label) && action.score >= filter.score;
}

// --- Players and timelines, built when they come near the window.

const sections = data.videos.map((video, index) => {
  const section = element("section", "video");
  section.dataset.index = index;
  section.append(element("h2", "", video.name), element("div", "body"));
  byId("videos").append(section);
  return section;
});

function fill(index) {
  const [video, body] = [data.videos[index], sections[index].querySelector(".body")];
  if (body.childElementCount) return;
  const [player, timeline] = [element("div", "player"), element("div", "timeline")];
  body.append(player, timeline);
  if (video.source) {
    const media = element("video");
    media.controls = true;
    media.preload = "metadata";
    media.playsInline = true;
    media.src = video.source;
    const clock = element("div", "time", showTime(0, video));
    media.addEventListener("timeupdate", () => moveClock(timeline, clock, video, media.currentTime));
    media.addEventListener("error", () => {
      clock.textContent = `This browser cannot play ${video.source}.`;
    });
    player.append(media, clock);
  } else {
    player.append(element("p", "", "The video is not beside this page."));
  }
  drawTimeline(index);
}

function moveClock(timeline, clock, video, seconds) {
  clock.textContent = showTime(seconds, video);
  timeline.style.setProperty("--now", `${Math.min(100, 100 * seconds / video.length)}%`);
}

function empty(index) {
  const section = sections[index];
  section.style.minHeight = `${section.offsetHeight}px`;
  section.querySelector(".body").replaceChildren();
}

const observer = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    if (isIntersecting) fill(Number(target.dataset.index));
    else if (sections.length > MANY_VIDEOS) empty(Number(target.dataset.index));
  }
}, { rootMargin: "600px" });

function play(index, start) {
  fill(index);
  sections[index].scrollIntoView({ block: "nearest" });
  const media = sections[index].querySelector("video");
  if (!media) return;
  media.currentTime = start + 0.002; // not the last frame before, where times were rounded
  media.play().catch(() => {});
}

function place(made, start, end, length) {
  made.style.left = `${100 * start / length}%`;
  made.style.width = `${100 * Math.max(end - start, 0) / length}%`;
  return made;
}

function makeBar(action) {
  const { video, person, label, start, end, score } = action;
  const bar = place(element("button", "bar", label), start, end, video.length);
  bar.type = "button";
  bar.title = `person ${person}: ${label}, ${showTime(start, video)} to ${showTime(end, video)}, `
    + `score ${score.toFixed(2)}`;
  [bar.style.background, bar.style.color] = data.colors[video.people[action.row].color];
  bar.style.top = `${1 + LANE * action.lane}px`;
  bar.addEventListener("click", (event) => {
    event.stopPropagation();
    play(action.index, start);
  });
  return bar;
}

function drawTimeline(index) {
  const video = data.videos[index];
  const timeline = sections[index].querySelector(".timeline");
  if (!timeline) return;
  const bars = new Map();
  for (const action of (video.shown ?? []).filter(isShown)) {
    if (!bars.has(action.row)) bars.set(action.row, []);
    bars.get(action.row).push(makeBar(action));
  }
  const isFiltered = filter.label >= 0 || filter.score > 0;
  const rows = [];
  video.people.forEach((person, row) => {
    const isNamed = person.lanes > 0;
    if (!bars.has(row) && (isNamed ? isFiltered : !filter.unnamed)) return;
    const [color] = data.colors[person.color];
    const [line, name] = [element("div", "row"), element("div", "name")];
    const [mark, lanes] = [element("i"), element("div", "lanes")];
    mark.style.background = color;
    name.append(mark, `person ${person.person}`);
    lanes.style.minHeight = `${isNamed ? LANE * person.lanes + 6 : 12}px`;
    for (const [start, end] of person.seen) {
      const seen = place(element("div", "seen"), start, end, video.length);
      seen.style.background = color;
      lanes.append(seen);
    }
    lanes.append(...(bars.get(row) ?? []));
    lanes.addEventListener("click", (event) => {
      const box = lanes.getBoundingClientRect();
      play(index, video.length * (event.clientX - box.left) / box.width);
    });
    line.append(name, lanes);
    rows.push(line);
  });
  timeline.replaceChildren(...rows, makeAxis(video));
}

function makeAxis(video) {
  const [axis, ticks] = [element("div", "axis"), element("div", "ticks")];
  const rough = video.length / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const digits = Math.max(0, -Math.floor(Math.log10(step)));
  for (let at = 0; at < video.length; at += step) {
    ticks.append(place(element("span", "", `${at.toFixed(digits)}`), at, at, video.length));
  }
  axis.append(element("div", "name", video.unit === "s" ? "seconds" : "frames"), ticks);
  return axis;
}

// --- The table.

const COLUMNS = [["video", (a) => a.index], ["person", (a) => a.person],
  ["action", (a) => a.label], ["start", (a) => a.start], ["end", (a) => a.end],
  ["score", (a) => a.score]];
let [sorted, direction, numRows] = [0, 1, ROWS];

const headings = COLUMNS.map(([title], column) => {
  const [heading, button] = [element("th", "", ""), element("button", "", title)];
  button.type = "button";
  button.addEventListener("click", () => {
    direction = column === sorted ? -direction : 1;
    sorted = column;
    drawTable();
  });
  heading.append(button);
  document.querySelector("thead tr").append(heading);
  return heading;
});

function compare(a, b) {
  return typeof a === "string" ? a.localeCompare(b) : a - b;
}

function drawTable() {
  headings.forEach((heading, column) => {
    if (column !== 1 && column < 3) heading.className = "";
    else heading.className = "number";
    heading.ariaSort = column !== sorted ? "none" : direction > 0 ? "ascending" : "descending";
  });
  const value = COLUMNS[sorted][1];
  const rows = actions.filter(isShown)
    .sort((a, b) => direction * compare(value(a), value(b)) || a.index - b.index
      || a.start - b.start);
  byId("count").textContent = `${rows.length} of ${actions.length} actions.`;
  byId("more").hidden = rows.length <= numRows;
  document.querySelector("tbody").replaceChildren(...rows.slice(0, numRows).map((action) => {
    const row = element("tr");
    const { video, person, label, start, end, score } = action;
    [video.name, `${person}`, label, showTime(start, video), showTime(end, video),
      score.toFixed(2)].forEach((text, column) =>
      row.append(element("td", column === 1 || column > 2 ? "number" : "", text)));
    row.addEventListener("click", () => play(action.index, start));
    return row;
  }));
}

// --- Filters.

const counts = new Array(data.labels.length).fill(0);
for (const action of actions) counts[action.labelIndex] += 1;
data.labels.forEach((label, index) => {
  const option = element("option", "", `${label} (${counts[index]})`);
  option.value = index;
  byId("label").append(option);
});

function draw() {
  filter.label = Number(byId("label").value);
  filter.score = Number(byId("score").value);
  filter.unnamed = byId("unnamed").checked;
  byId("least").textContent = filter.score.toFixed(2);
  const isFiltered = filter.label >= 0 || filter.score > 0;
  sections.forEach((section, index) => {
    section.hidden = isFiltered && !(data.videos[index].shown ?? []).some(isShown);
    drawTimeline(index);
  });
  numRows = ROWS;
  drawTable();
}

document.querySelector("form").addEventListener("input", draw);
document.querySelector("form").addEventListener("submit", (event) => event.preventDefault());
byId("more").addEventListener("click", () => {
  numRows += ROWS;
  drawTable();
});
draw();
sections.forEach((section) => observer.observe(section));
