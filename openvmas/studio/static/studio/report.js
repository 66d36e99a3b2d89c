// "What fits": the measured report of the take that is heard, in a sentence, in figures, and moment by moment.
import { byId, make, refill } from "./elements.js";
import { clockText, signed } from "./units.js";
import { say, sayName, tell } from "./words.js";

const ONE = { cut: "cut", hit: "accent", visual_beat: "beat of the picture" };
const KINDS = { cut: "cuts", hit: "accents", visual_beat: "beats of the picture" };
const percent = (value) => (value == null ? "–" : `${Math.round(100 * value)} %`);

export class Report {
  constructor(workspace, player, timeline) {
    Object.assign(this, { workspace, player, timeline, element: byId("report") });
    this.draw(null);
  }

  draw(take) {
    const report = take?.report;
    this.element.hidden = !report;
    if (!report) return;
    refill(
      this.element,
      make("h2", {}, tell("What fits: {0}", sayName(take.name))),
      make("p", { class: "verdict" }, verdict(report)),
      make("div", { class: "columns" }, figures(report), this.#moments(report), sections(report)),
    );
  }

  #moments(report) {
    const missed = report.moments.filter((moment) => !moment.fits);
    const rank = (moment) => (moment.kind === "hit" ? 0 : 1);
    const worst = [...missed]
      .sort((a, b) => rank(a) - rank(b) || Math.abs(b.error ?? 9) - Math.abs(a.error ?? 9))
      .slice(0, 12);
    worst.sort((a, b) => a.time - b.time);
    const show = (moment) => (this.player.seek(Math.max(moment.time - 0.5, 0)), this.timeline.reveal(moment.time));
    const far = (moment) => (moment.error == null ? "no onset near" : `${signed(moment.error * 1000, "ms", 0)}`);
    return make(
      "div",
      {},
      make("h3", {}, "Moments without an accent"),
      worst.length
        ? make(
            "ul",
            { class: "moments" },
            worst.map((moment) =>
              make(
                "li",
                {},
                make(
                  "button",
                  { type: "button", class: "chip", "data-key": `moment-${moment.time}`, onclick: () => show(moment) },
                  tell("{0} {1}: {2}", clockText(moment.time), say(ONE[moment.kind]), say(far(moment))),
                ),
              ),
            ),
          )
        : make("p", { class: "quiet" }, "None: every moment has an onset of the music within reach."),
      missed.length > worst.length
        ? make("p", { class: "help" }, tell("The {0} farthest of {1}.", worst.length, missed.length))
        : null,
    );
  }
}

/** How well music and picture meet, in words: text, and about what it means. z: of the chance-corrected measure. */
export function timing(z) {
  const grade = z >= 3 ? "very good" : z >= 1.65 ? "good" : "by chance";
  const about = tell("Accents of the music on moments of the picture, against chance: z {0}. From 1.65 on it is no accident.", signed(z));
  return { text: tell("in time with the picture: {0}", say(grade)), about };
}

function verdict(report) {
  const fits = report.moments.filter((moment) => moment.fits).length;
  const z = report.sync?.z;
  const share = tell("{0} of {1} moments has an onset within {2} ms.|{0} of {1} moments have an onset within {2} ms.", fits, report.moments.length, Math.round(report.tolerance * 1000));
  if (z == null) return share;
  const { text, about } = timing(z);
  return `${text[0].toUpperCase()}${text.slice(1)}. ${share} ${about}`;
}

function figures(report) {
  const rows = Object.entries(KINDS).map(([kind, name]) => {
    const all = report.moments.filter((moment) => moment.kind === kind);
    return all.length ? [tell("Accents on {0}", say(name)), tell("{0} of {1}", all.filter((moment) => moment.fits).length, all.length)] : null;
  });
  const beat = report.cut_to_beat;
  rows.push(
    beat?.within != null ? ["Cuts on a beat", tell("{0}, by chance {1}", percent(beat.within), percent(beat.chance))] : null,
    report.energy_correlation != null
      ? ["Energy of music and picture", tell("correlation {0}", signed(report.energy_correlation, "", 2))]
      : null,
    ["Tempo", report.tempo ? `${report.tempo.toFixed(1)} BPM` : "without a beat"],
    ["Loudness", tell("{0}, true peak {1}", signed(report.loudness_lufs, "LUFS"), signed(report.true_peak, "dBTP"))],
    report.is_loud_enough === false
      ? ["Loudness target", "not reached without clipping; lower it or raise the true peak"]
      : null,
    ...(report.seams ?? []).map(seam),
  );
  return make(
    "dl",
    { class: "facts wide" },
    rows.filter(Boolean).map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
  );
}

/** How much the sound changes at the border of a part that was written again, among all other places of the piece. */
function seam({ time, spectrum, timbre, level }) {
  const worst = Math.max(spectrum, timbre, level);
  const heard = worst > 0.95 ? "a marked change" : "no marked change";
  return [tell("Seam at {0}", clockText(time, 1)), tell("{0} (more than {1} of other places)", say(heard), percent(worst))];
}

function sections(report) {
  if (!report.sections?.length) return null;
  const row = (section, index) =>
    make(
      "tr",
      {},
      make("th", { scope: "row" }, `${index + 1}`),
      make("td", {}, tell("{0} to {1}", clockText(section.start, 1), clockText(section.end, 1))),
      make(
        "td",
        {},
        section.hit_rate == null
          ? "–"
          : make("meter", {
              min: 0,
              max: 1,
              value: section.hit_rate,
              "aria-label": tell("Moments that fit in section {0}", index + 1),
            }),
        ` ${percent(section.hit_rate)}`,
      ),
      make("td", {}, section.sync_z == null ? "–" : signed(section.sync_z)),
    );
  const head = ["Section", "Time", "Moments that fit", "Sync z"].map((name) => make("th", { scope: "col" }, name));
  return make(
    "div",
    { class: "scroller", tabindex: "0", role: "region", "aria-label": "Fit of each section" },
    make("table", {}, make("thead", {}, make("tr", {}, head)), make("tbody", {}, report.sections.map(row))),
  );
}
