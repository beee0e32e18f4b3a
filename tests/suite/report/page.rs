//! Pages in a real browser, from disk: their parts are there, no network requests are made, the console stays
//! empty, and they work on a phone.

use std::path::Path;

use flowbench::capacity::result::Capacity;
use flowbench::report::{self, Format};
use serde::Deserialize;
use serde_json::Value;

use super::gallery::{SCRIPT, folder, runs};
use crate::chromium::Browser;

/// Collects facts about a page.
const LOOK: &str = r#"(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const hover = figure => {
    const plot = figure.querySelector(".plot"), box = plot.getBoundingClientRect();
    const at = {clientX: box.left + box.width / 2, clientY: box.top + box.height / 2};
    plot.dispatchEvent(new PointerEvent("pointermove", at));
    const text = figure.querySelector(".tip")?.textContent ?? "";
    plot.dispatchEvent(new PointerEvent("pointerleave"));
    return text;
  };
  const box = element => element.getBoundingClientRect();
  const touch = (a, b) =>
    a.left < b.right && b.left < a.right && a.top < b.bottom && b.top < a.bottom;
  const figure = figure => {
    const within = box(figure);
    const texts = all("svg[role=img] text", figure);
    return {
      title: figure.querySelector("figcaption b").textContent,
      label: figure.querySelector(".plot svg").getAttribute("aria-label"),
      rows: all("tbody tr", figure).length,
      points: (figure.dataset.across ?? "").split(" ").filter(text => text).length,
      tip: figure.dataset.across ? hover(figure) : "",
      axes: all(".axis", figure).map(text => text.textContent),
      outside: texts.filter(text => box(text).right > within.right + 1 || box(text).left < within.left - 1)
        .map(text => text.textContent),
      over: all(".axis", figure).flatMap(axis => all(".tick", figure)
        .filter(tick => touch(box(axis), box(tick))).map(tick => axis.textContent + " over " + tick.textContent)),
    };
  };
  // Content that is wider than its container has a shadow at the edge to show that.
  const style = element => getComputedStyle(element);
  const clips = element => element.scrollWidth > element.clientWidth + 1 && style(element).overflowX !== "visible"
    && !element.closest(".sr") && style(element).backgroundImage === "none";
  const size = text => {
    const to = text.getScreenCTM();
    return parseFloat(style(text).fontSize) * Math.hypot(to.a, to.b);
  };
  const shown = all("svg[role=img] text").filter(text => box(text).width > 0);
  return {
    title: document.title,
    clipped: all("main *").filter(clips).map(element => element.tagName + "." + element.className),
    smallest: Math.min(100, ...shown.map(size)),
    answer: document.querySelector("h1").textContent,
    headings: all("h2, h3").map(heading => heading.textContent.trim()),
    text: document.body.innerText,
    figures: all("figure").map(figure),
    scripts: all("script").length,
    width: document.documentElement.scrollWidth,
    screen: innerWidth,
  };
})()"#;

#[derive(Deserialize)]
struct Look {
    title: String,
    answer: String,
    headings: Vec<String>,
    text: String,
    figures: Vec<Figure>,
    clipped: Vec<String>,
    /// The smallest text in charts, in px.
    smallest: f64,
    scripts: usize,
    width: u32,
    screen: u32,
}

#[derive(Deserialize)]
struct Figure {
    title: String,
    label: String,
    rows: usize,
    points: usize,
    tip: String,
    axes: Vec<String>,
    outside: Vec<String>,
    over: Vec<String>,
}

async fn look(browser: &mut Browser, path: &Path, width: u32) -> Look {
    let events = browser.open_file(path, width).await;
    let name = format!("{} at {width} px", path.display());
    for event in &events {
        match event["method"].as_str().unwrap_or_default() {
            "Log.entryAdded" | "Runtime.consoleAPICalled" | "Runtime.exceptionThrown" => {
                panic!("{name}: the console says {event}");
            }
            "Network.requestWillBeSent" => {
                let url = event["params"]["request"]["url"].as_str().unwrap_or_default();
                assert!(url.starts_with("file:") || url.starts_with("data:"), "{name}: {url}");
            }
            _ => (),
        }
    }
    let told: Value = browser.evaluate(LOOK).await;
    let page: Look = serde_json::from_value(told).expect("what the script tells");
    assert!(page.width <= page.screen, "{name}: {} px wide", page.width);
    assert_eq!(page.scripts, 1, "{name}");
    assert!(page.clipped.is_empty(), "{name}: cut without a word: {:?}", page.clipped);
    assert!(page.smallest >= 8.0, "{name}: {} px is too small to read", page.smallest);
    for figure in &page.figures {
        let name = format!("{name}: {}", figure.title);
        assert!(!figure.label.is_empty() && figure.rows > 0, "{name}: nothing to read out");
        assert!(figure.points == 0 || figure.points == figure.rows, "{name}");
        assert_eq!(figure.points > 0, !figure.tip.is_empty(), "{name}: values on hover");
        assert!(figure.outside.is_empty(), "{name}: runs out: {:?}", figure.outside);
        assert!(figure.over.is_empty(), "{name}: {:?}", figure.over);
        assert!(figure.axes.len() != 1, "{name}: {:?}", figure.axes);
    }
    page
}

/// Results of real searches, with texts on their pages.
const SEARCHES: [(&str, &str, &str, &[&str]); 5] = [
    (
        "rate",
        include_str!("../../capacity/rate.json"),
        "Sustains ",
        &[
            "Response time over load",
            "Throughput over load",
            "Executors over load",
            "Replicas over time",
            "Plan",
            "Trials",
        ],
    ),
    (
        "clients",
        include_str!("../../capacity/clients.json"),
        "Sustains ",
        &["Throughput over load"],
    ),
    (
        "sizes",
        include_str!("../../capacity/sizes.json"),
        "Sustains ",
        &["Sizes and connections", "Documents against latency"],
    ),
    ("fails-at-low", include_str!("../../capacity/fails-at-low.json"), "Fails even at ", &[]),
    ("interrupted", include_str!("../../capacity/interrupted.json"), "Inconclusive", &["Trials"]),
];

#[tokio::test]
async fn capacity_pages_work_from_disk_in_a_browser() {
    let Some(mut browser) = Browser::open().await else { return };
    for (name, json, answer, parts) in SEARCHES {
        let folder = folder().join("capacity").join(name);
        std::fs::create_dir_all(&folder).expect("target/ can be written");
        let capacity: Capacity = serde_json::from_str(json).expect("a result");
        report::capacity::save(&folder, &capacity).expect("it can be written");
        let path = folder.join("capacity.html");
        let wide = look(&mut browser, &path, 1280).await;
        let narrow = look(&mut browser, &path, 390).await;
        assert_eq!(wide.answer, narrow.answer);
        assert!(wide.answer.starts_with(answer), "{name}: {}", wide.answer);
        let titles: Vec<&str> = wide.figures.iter().map(|figure| &*figure.title).collect();
        for part in parts {
            let there = titles.contains(part) || wide.headings.iter().any(|h| h == part);
            assert!(there, "{name}: {part} is missing in {titles:?} and {:?}", wide.headings);
        }
        let text = wide.text.replace('\u{a0}', " ");
        assert!(text.contains(&capacity.paragraph), "{name}: {text}");
    }
    browser.close().await;
}

#[tokio::test]
async fn the_page_of_a_comparison_works_from_disk_in_a_browser() {
    let Some(mut browser) = Browser::open().await else { return };
    let folder = folder().join("compared");
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    let (_, summary) = runs().iter().find(|(name, _)| *name == "all-passed").expect("a run");
    for side in ["base.json", "candidate.json"] {
        let mut text = Vec::new();
        report::write(summary, Format::Json, &mut text).expect("a vector takes all");
        std::fs::write(folder.join(side), text).expect("it can be written");
    }
    let page = folder.join("comparison.html");
    let compared = std::process::Command::new(env!("CARGO_BIN_EXE_flowbench"))
        .args(["compare", "base.json", "--force", "--gate", "p50 +10%", "--gate", "error_rate +1%"])
        .args(["-o", "comparison.html", "--", "candidate.json"])
        .current_dir(&folder)
        .output()
        .expect("the binary was built");
    assert!(page.is_file(), "{}", String::from_utf8_lossy(&compared.stderr));
    for width in [1280, 390] {
        let seen = look(&mut browser, &page, width).await;
        let is_there =
            seen.figures.iter().any(|figure| figure.title.starts_with("Shift of response"));
        assert!(is_there, "{:?}", seen.headings);
    }
    browser.close().await;
}

#[tokio::test]
async fn pages_work_from_disk_in_a_browser() {
    let Some(mut browser) = Browser::open().await else { return };
    let folder = folder().join("browser");
    std::fs::create_dir_all(&folder).expect("target/ can be written");
    for (name, summary) in runs() {
        let path = folder.join(format!("{name}.html"));
        let mut page = Vec::new();
        report::write(summary, Format::Html, &mut page).expect("a vector takes all");
        std::fs::write(&path, page).expect("it can be written");
        let wide = look(&mut browser, &path, 1280).await;
        let narrow = look(&mut browser, &path, 390).await;
        assert_eq!(wide.answer, narrow.answer);
        assert_eq!(
            wide.title.split(": ").last().map(str::to_lowercase),
            Some(wide.answer.to_lowercase())
        );
        let titles: Vec<&str> = wide.figures.iter().map(|figure| &*figure.title).collect();
        let has = |part: &str| titles.contains(&part) || wide.headings.iter().any(|h| h == part);
        match *name {
            "all-passed" => {
                for part in [
                    "Scenarios",
                    "Thresholds",
                    "Latency by percentile",
                    "Response time over time",
                    "Throughput",
                    "Requests in flight",
                    "Send delay",
                    "Latency breakdown: typical and slowest 1 %",
                    "Time per hop",
                    "Assertions",
                    "Callbacks",
                    "Slowest requests",
                ] {
                    assert!(has(part), "{part} is missing in {titles:?}");
                }
                let percentiles = &wide.figures[0];
                assert!(percentiles.tip.contains("response time "), "{}", percentiles.tip);
            }
            "all-failed" => {
                assert!(has("Errors over time") && has("Errors"), "{titles:?}");
                // As text, in an error and in the example of an assertion.
                assert_eq!(wide.text.matches(SCRIPT).count(), 2, "{}", wide.text);
            }
            "none" => assert!(titles.is_empty(), "{titles:?}"),
            "matrix" => assert!(has("search, side by side"), "{:?}", wide.headings),
            _ => (),
        }
    }
    browser.close().await;
}
