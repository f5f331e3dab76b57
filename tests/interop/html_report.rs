//! The page of a run, as a browser shows it: headless Chromium lays it out and says what it sees.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Asks the page about itself and leaves the answer where `--dump-dom` prints it.
const PROBE: &str = r"<script>addEventListener('load',()=>{
const text=(root,what)=>[...root.querySelectorAll(what)].map(e=>e.textContent.trim().replace(/\s+/g,' '));
const shown=e=>e.checkVisibility();
const cases=[...document.querySelectorAll('.case')].map(c=>({
  name:text(c,'summary strong')[0],verdict:text(c,'summary .chip')[0],open:c.open,
  rungs:[...c.querySelectorAll('.ladder li')].map(l=>({what:text(l,'.what')[0],shown:shown(l),
    kind:l.className,at:Number(text(l,'.at')[0]),titled:shown(l.querySelector('.what strong')),
    within:l.scrollWidth<=l.clientWidth,
    way:l.classList.contains('us')?'us':l.classList.contains('peer')?'peer':'',
    lost:l.classList.contains('lost'),bad:l.classList.contains('bad'),changed:l.classList.contains('changed')})),
  commands:text(c,'pre').length}));
const out=document.createElement('div');out.id='probe';
out.textContent=JSON.stringify({width:innerWidth,needs:document.documentElement.scrollWidth,
  chips:text(document,'header .chip'),links:[...document.querySelectorAll('nav a')].every(a=>document.getElementById(a.hash.slice(1))),cases});
document.body.append(out)})</script>";

fn chromium(dir: &Path, args: &[&str]) -> Vec<u8> {
    let mut command = Command::new("chromium");
    command.args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"]);
    command.arg(format!("--user-data-dir={}", dir.join("chromium").display())).args(args);
    let output = command.output().expect("chromium is installed by scripts/test-setup");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What the page says of itself in a window of `width` pixels.
fn probe(dir: &Path, page: &str, width: u16, anchor: &str) -> Value {
    let file = dir.join("probed.html");
    std::fs::write(&file, page.replace("</body>", &format!("{PROBE}</body>"))).unwrap();
    let size = format!("--window-size={width},900");
    let dom = chromium(dir, &[&size, "--dump-dom", &format!("file://{}{anchor}", file.display())]);
    let dom = String::from_utf8(dom).unwrap();
    let json = dom.split("<div id=\"probe\">").nth(1).expect("the probe ran").split("</div>").next().unwrap();
    let json = json.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&");
    serde_json::from_str(&json).unwrap_or_else(|e| panic!("{e}: {json}"))
}

#[test]
fn a_browser_shows_the_ladders_and_the_verdicts() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_ikelab"));
    run.args(["run", "auth/psk-mismatch", "path/udp-500-silent", "--out", "run", "--seed", "page"]);
    let output = run.current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(dir.path().join("run/report.html")).unwrap();
    let result = std::fs::read_to_string(dir.path().join("run/result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();

    let phone = probe(dir.path(), &page, 390, "");
    assert!(phone["width"].as_u64().unwrap() <= 500, "a phone's width: {}", phone["width"]);
    assert!(phone["needs"].as_u64() <= phone["width"].as_u64(), "nothing to scroll sideways: {phone:#}");
    assert_eq!(phone["chips"], serde_json::json!(["4 reproduced"]));
    assert_eq!(phone["links"], true, "each link of the index leads to a case");

    // The page has the verdicts and ladders of result.json, case by case.
    let (cases, wanted) = (phone["cases"].as_array().unwrap(), result["cases"].as_array().unwrap());
    assert_eq!(cases.len(), wanted.len());
    for (case, want) in cases.iter().zip(wanted) {
        let verdict = want["verdict"].as_str().unwrap().to_uppercase().replace('-', " ");
        assert_eq!(case["verdict"], verdict.as_str(), "{case:#}");
        let (rungs, want) = (case["rungs"].as_array().unwrap(), want["ladder"].as_array().unwrap());
        assert_eq!(rungs.len(), want.len(), "{case:#}");
        for (rung, want) in rungs.iter().zip(want) {
            assert!(rung["what"].as_str().unwrap().starts_with(want["title"].as_str().unwrap()), "{rung} {want}");
            assert_eq!(rung["shown"], case["open"], "what went well is folded away");
        }
    }

    // What a person has to see in two of them.
    let case = |name: &str| cases.iter().find(|case| case["name"] == name).unwrap_or_else(|| panic!("no {name}"));
    let ways = |case: &Value, of: &str| -> Vec<bool> {
        let messages = case["rungs"].as_array().unwrap().iter().filter(|rung| rung["way"] != "");
        messages.map(|rung| if of == "us" { rung["way"] == "us" } else { rung[of] == true }).collect()
    };
    let psk = case("auth/psk-mismatch initiator");
    assert_eq!(ways(psk, "us")[..4], [true, false, true, false], "{psk:#}");
    assert_eq!(ways(psk, "bad")[..4], [false, false, false, true], "{psk:#}");
    assert_eq!(ways(psk, "changed")[..4], [false, false, true, false], "{psk:#}");
    assert!(psk["commands"].as_u64() > Some(2), "commands that mend it: {psk:#}");
    let silent = case("path/udp-500-silent initiator");
    assert!(ways(silent, "lost").len() >= 3 && ways(silent, "lost").iter().all(|lost| *lost), "{silent:#}");

    // A link opens the case it leads to, and paper has them all.
    let mut ids = page.split("id=\"").skip(1).filter_map(|part| part.split('"').next());
    let id = ids.find(|id| id.ends_with("auth-psk-mismatch-initiator")).unwrap();
    let linked = probe(dir.path(), &page, 1100, &format!("#{id}"));
    let open: Vec<_> = linked["cases"].as_array().unwrap().iter().filter(|case| case["open"] == true).collect();
    assert_eq!(open.len(), 1);
    assert_eq!(open[0]["name"], "auth/psk-mismatch initiator");
    let pdf = dir.path().join("page.pdf");
    let print = format!("--print-to-pdf={}", pdf.display());
    chromium(dir.path(), &[&print, &format!("file://{}", dir.path().join("run/report.html").display())]);
    let pages = |file: &Path| {
        let bytes = std::fs::read(file).unwrap();
        bytes.windows(11).filter(|window| window == b"/Type /Page").count()
    };
    assert!(pages(&pdf) > 1, "every case is printed, not only the index");
}

#[test]
fn lines_of_a_persona_stand_in_the_ladder_and_say_that_they_are_modelled() {
    let dir = tempfile::tempdir().unwrap();
    let mut run = Command::new(env!("CARGO_BIN_EXE_ikelab"));
    run.args(["run", "auth/psk-mismatch", "--persona", "cisco-asa", "--role", "initiator", "--out", "run"]);
    let output = run.current_dir(dir.path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let page = std::fs::read_to_string(dir.path().join("run/report.html")).unwrap();
    let result = std::fs::read_to_string(dir.path().join("run/result.json")).unwrap();
    let result: Value = serde_json::from_str(&result).unwrap();
    let is_case = |case: &&Value| case["id"] == "auth/psk-mismatch";
    let case = result["cases"].as_array().unwrap().iter().find(is_case).unwrap();
    let logged = case["peer_log"].as_array().unwrap();
    assert!(logged.len() >= 2, "{case:#}");

    let mut ids = page.split("id=\"").skip(1).filter_map(|part| part.split('"').next());
    let id = ids.find(|id| id.ends_with("auth-psk-mismatch-initiator")).unwrap();
    let phone = probe(dir.path(), &page, 390, &format!("#{id}"));
    assert!(phone["needs"].as_u64() <= phone["width"].as_u64(), "nothing to scroll sideways: {phone:#}");
    let cases = phone["cases"].as_array().unwrap();
    let shown = cases.iter().find(|case| case["name"] == "auth/psk-mismatch initiator").unwrap();
    let rungs = shown["rungs"].as_array().unwrap();
    let lines: Vec<&Value> = rungs.iter().filter(|rung| rung["kind"] == "log modelled").collect();
    assert_eq!(lines.len(), logged.len(), "{shown:#}");
    for (line, want) in lines.iter().zip(logged) {
        let what = line["what"].as_str().unwrap();
        assert!(what.starts_with("modelled: what such a box would print "), "{line}");
        assert!(what.contains(want["text"].as_str().unwrap()), "{line} {want}");
        assert!(what.ends_with(&format!("[wording {}]", want["basis"].as_str().unwrap())), "{line} {want}");
        assert!(line["shown"] == true && line["within"] == true, "{line}");
    }
    // The title stands over the first of several lines.
    let firsts = rungs
        .iter()
        .enumerate()
        .filter(|(n, rung)| rung["kind"] == "log modelled" && (*n == 0 || rungs[n - 1]["kind"] != "log modelled"));
    assert!(firsts.map(|(_, rung)| rung).all(|rung| rung["titled"] == true), "{shown:#}");
    // Between the message that the box reads and the one with which it answers.
    let times: Vec<f64> = rungs.iter().map(|rung| rung["at"].as_f64().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    let at = |what: &str| rungs.iter().position(|rung| rung["what"].as_str().unwrap().contains(what)).unwrap();
    let found = at("Failed to authenticate the IKE SA");
    assert!(at("IKE_AUTH #1 request") < found && found < at("IKE_AUTH #1 response"), "{shown:#}");
}
