//! Tests: whatever a document or a page prints as a command is one that the command line takes.
//!
//! In a code block every line that begins with `ikelab` is a command and must parse as a whole; what stands between
//! backticks in a sentence may leave out what must be given, but its command and its flags must be there.

use std::path::{Path, PathBuf};

use clap::CommandFactory;

use super::{Cli, Command, load_flags};
use crate::config::{self, Loaded, Vendor};
use crate::fault::table;
use crate::report::run_text;
use crate::scenario::load::{self, LoadedScenario};

/// A command that a document prints.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Printed {
    words: Vec<String>,
    /// In a sentence.
    mentioned: bool,
}

/// Files of the repository with commands: Markdown, manifests, examples, scenarios.
fn documents() -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut files = vec![root.join("README.md")];
    let mut folders: Vec<PathBuf> = ["docs", "docker", "examples", "scenarios"].map(|name| root.join(name)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).expect("a folder of the repository").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path => files.push(path),
            }
        }
    }
    files.sort();
    let text = |path: PathBuf| Some((path.clone(), std::fs::read_to_string(path).ok()?));
    files.into_iter().filter_map(text).collect()
}

/// The commands of a text.
fn commands(text: &str, markdown: bool) -> Vec<Printed> {
    let mut out = Vec::new();
    let mut block = !markdown;
    let text = text.replace("\\\n", " ");
    for line in text.lines() {
        if markdown && line.trim_start().starts_with("```") {
            block = !block;
            continue;
        }
        if !block || !markdown {
            let inside = line.split('`').skip(1).step_by(2).filter(|code| code.starts_with("ikelab "));
            out.extend(inside.map(|code| Printed { words: words(code), mentioned: true }));
        }
        if !block {
            continue;
        }
        let line = line.split_once("-> ikelab ").map_or(line.to_owned(), |(_, rest)| format!("ikelab {rest}"));
        let line = line.replace("cargo run --release -- ", "ikelab ");
        let words = words(line.trim_start().trim_start_matches(['#', '$', ' ']));
        let at = words.iter().position(|word| word == "ikelab");
        // Others run before it: sudo, taskset -c 1.
        let before = |word: &String| ["sudo", "taskset", "-c"].contains(&word.as_str()) || word.parse::<u8>().is_ok();
        let Some(at) = at.filter(|at| words[..*at].iter().all(before)) else { continue };
        let words = words[at..].to_vec();
        // A sentence in a comment may begin with our name.
        if markdown || words.get(1).is_some_and(|word| Cli::command().find_subcommand(word).is_some()) {
            out.push(Printed { words, mentioned: false });
        }
    }
    out
}

/// The words of a shell command up to a comment, a pipe or another command; a variable is some number.
fn words(text: &str) -> Vec<String> {
    let (mut out, mut word, mut begun) = (Vec::new(), String::new(), false);
    let mut quote = None;
    for c in text.chars().chain([' ']) {
        match (quote, c) {
            (Some(q), c) if q == c => quote = None,
            (None, '\'' | '"') => (quote, begun) = (Some(c), true),
            (None, ' ') if begun => {
                let word = std::mem::take(&mut word);
                begun = false;
                out.push(if word.starts_with('$') { "7".to_owned() } else { word });
            }
            (None, ' ') => {}
            (None, '#') if !begun => break,
            (None, '|' | '&' | ';' | '>') => break,
            (_, c) => {
                word.push(c);
                begun = true;
            }
        }
    }
    out
}

/// In words, why the command line does not take it.
fn refused(printed: &Printed, catalogue: &[LoadedScenario]) -> Option<String> {
    if printed.mentioned {
        let mut all = Cli::command();
        // With --help.
        all.build();
        let mut words = printed.words.iter().skip(1).map(|word| word.trim_start_matches('['));
        let name = words.next()?;
        let Some(command) = all.find_subcommand(name) else { return Some(format!("there is no command {name}")) };
        let has = |flag: &str| {
            command.get_arguments().any(|arg| {
                let long = arg.get_long_and_visible_aliases().is_some_and(|names| names.contains(&&flag[2..]));
                long || arg.get_short().is_some_and(|short| flag == format!("-{short}"))
            })
        };
        return words.find(|word| word.starts_with('-') && !has(word)).map(|flag| format!("{name} has no {flag}"));
    }
    let (cli, given) = match super::parse(&printed.words) {
        Ok(parsed) => parsed,
        Err(error) => return Some(error.to_string()),
    };
    match cli.command {
        Command::Run(args) => load::select(catalogue.to_vec(), &args.selectors).err(),
        Command::Load(args) => load_flags::check(&args, &given).err().map(|error| error.message),
        Command::Failures(args) => load::select(catalogue.to_vec(), args.id.as_slice()).err(),
        _ => None,
    }
}

#[test]
fn documents_print_commands_that_exist() {
    let catalogue = load::embedded().expect("they load");
    let mut wrong = Vec::new();
    let mut whole = 0;
    for (path, text) in documents() {
        let markdown = path.extension().is_some_and(|e| e == "md");
        for printed in commands(&text, markdown) {
            whole += usize::from(!printed.mentioned);
            if let Some(why) = refused(&printed, &catalogue) {
                wrong.push(format!("{}: {}\n{why}", path.display(), printed.words.join(" ")));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
    assert!(whole > 20, "only {whole} commands were found");
}

#[test]
fn pages_print_commands_that_exist() {
    let catalogue = load::embedded().expect("they load");
    let mut wrong = Vec::new();
    let mut check = |text: &str| {
        let printed = Printed { words: words(text), mentioned: false };
        wrong.extend(refused(&printed, &catalogue).map(|why| format!("{text}\n{why}")));
        printed.words
    };
    for row in table::all() {
        let words = check(&super::faults::command(row));
        let fault = words.last().expect("a command has words");
        table::parse(fault).unwrap_or_else(|why| panic!("{}: {why}", row.name));
    }
    for one in &catalogue {
        let text = run_text::entry(one, 1000);
        let found = text.lines().filter_map(|line| Some(&line[line.find(": ikelab run ")? + 2..]));
        let found: Vec<&str> = found.collect();
        assert_eq!(found.is_empty(), one.scenario.explained.as_ref().is_some_and(|e| e.looks_like.is_empty()));
        found.into_iter().for_each(|text| _ = check(text));
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n\n"));
}

/// The code blocks of a document that begin with this word; with none those without one.
fn blocks<'a>(text: &'a str, language: &str) -> Vec<&'a str> {
    let all = text.split("\n```").skip(1).step_by(2);
    all.filter_map(|block| block.split_once('\n').filter(|(word, _)| *word == language).map(|(_, code)| code)).collect()
}

fn document(name: &str) -> String {
    std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(name)).expect("a file of the repository")
}

/// A connection file that a document shows; its key is wherever it says.
fn shown(text: &str) -> Loaded {
    let text = text.replace("psk_file: ./psk", "psk_env: KEY");
    config::parse(&text, "shown.yaml", Path::new(""), &|_| Some("a key".to_owned()))
        .unwrap_or_else(|error| panic!("{error}\n{text}"))
}

#[test]
fn documents_show_files_that_load() {
    let readme = document("README.md");
    let readme = blocks(&readme, "yaml");
    let [file, control] = readme[..] else { panic!("{readme:?}") };
    let loaded = shown(&format!("{file}\n{control}"));
    assert_eq!(loaded.peer.vendor, Some(Vendor::CiscoAsa));
    assert!(loaded.control.initiate.is_some() && loaded.control.clear.is_some());
}

/// The file on the page, turned back into each box's words, has every setting of the box that the page shows.
#[test]
fn from_the_box_and_back() {
    const SETTINGS: [&str; 18] = [
        "encryption ",
        "integrity ",
        "group ",
        "prf ",
        "lifetime ",
        "protocol esp",
        "permit ip",
        "set pfs",
        "set security-association",
        "set peer",
        "match identity",
        "authentication ",
        "address 192",
        "hash ",
        "dh-group ",
        "esp-aes",
        "proxy-id ",
        "peer-address ",
    ];
    let page = document("docs/from-the-box.md");
    let file = blocks(&page, "yaml");
    let boxes = blocks(&page, "");
    let ([file], [asa, ios, panos]) = (&file[..], &boxes[..]) else { panic!("{file:?} {boxes:?}") };
    let loaded = shown(file);
    let mut checked = 0;
    for (vendor, text) in [(Vendor::CiscoAsa, asa), (Vendor::CiscoIosXe, ios), (Vendor::PaloAltoPanos, panos)] {
        let turned = crate::vendor::peer_config(&loaded, vendor).text;
        // Names are the box's own, and keys are not shown.
        for line in text.lines().filter(|line| !line.contains("pre-shared-key")) {
            let Some(at) = SETTINGS.iter().filter_map(|word| line.find(word)).min() else { continue };
            assert!(turned.contains(&line[at..]), "{vendor}: {line}\n{turned}");
            checked += 1;
        }
    }
    assert!(checked > 25, "only {checked} settings were found");

    let groups = page.split_once("Groups by number:").and_then(|(_, rest)| rest.split_once(".\n")).expect("the list").0;
    for pair in groups.split(',') {
        let (number, word) = pair.trim().split_once(' ').expect("a number and a word");
        let group = |text: &str| config::pfs(text).expect("a group");
        assert_eq!(group(&format!("group {number}")), group(word.trim_matches('`')), "{pair}");
    }
    let words = |text: &str| config::ike_proposal(text).expect("it reads them");
    assert!(page.contains("`aes-cbc-256 sha256 group 14`"));
    assert_eq!(words("aes-cbc-256 sha256 group 14"), words("aes256-sha256-modp2048"));
}

#[test]
fn commands_are_found() {
    let text = "Say `ikelab run --list` or `cargo`.\n```sh\n$ sudo ikelab run 'a b' --peer x   # all\nAT=1\n\
                ikelab load --shard 0/4 \\\n  --start-at \"$AT\" | tee x\n1  -> ikelab failures auth/psk-mismatch\n```\n";
    let found: Vec<(String, bool)> =
        commands(text, true).into_iter().map(|one| (one.words.join("|"), one.mentioned)).collect();
    let expected = [
        ("ikelab|run|--list", true),
        ("ikelab|run|a b|--peer|x", false),
        ("ikelab|load|--shard|0/4|--start-at|7", false),
        ("ikelab|failures|auth/psk-mismatch", false),
    ];
    assert_eq!(found, expected.map(|(text, mentioned)| (text.to_owned(), mentioned)));
    let catalogue = load::embedded().expect("they load");
    let refused = |text: &str, mentioned| refused(&Printed { words: words(text), mentioned }, &catalogue).is_some();
    assert!(refused("ikelab connect lab.yaml -c lab.yaml --falt x", false) && !refused("ikelab connect --ping", true));
    assert!(refused("ikelab failures auth/no-such", false) && refused("ikelab connect --falt", true));
    assert!(refused("ikelab conect", true));
    assert!(refused("ikelab load 192.0.2.1 --hold 5s", false) && !refused("ikelab load 192.0.2.1 --rate 5", false));
}
