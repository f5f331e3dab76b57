//! The house's import rule, file sizes, and where `unsafe` may stand. The table is ARCHITECTURE.md's, as data.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use syn::visit::Visit;

/// Module, and what it may name of this crate besides itself.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("time", &[]),
    ("seed", &[]),
    ("net", &[]),
    ("wire", &["time", "seed", "net"]),
    ("crypto", &["time", "seed", "net", "wire"]),
    ("auth", &["time", "seed", "net", "wire", "crypto"]),
    ("engine", &["time", "seed", "net", "wire", "crypto", "auth"]),
    ("esp", &["time", "seed", "net", "wire", "crypto", "engine"]),
    ("fault", &["time", "seed", "net", "wire", "crypto", "auth", "engine", "esp"]),
    ("link", &["time", "seed", "net"]),
    ("record", &["time", "net", "wire", "crypto", "auth", "engine", "esp"]),
    ("drive", &["time", "net", "engine", "esp", "link", "record"]),
    ("config", &["net", "wire", "crypto", "auth", "engine", "link"]),
    ("vendor", &["wire", "crypto", "auth", "engine", "config"]),
    ("diagnose", &["time", "net", "wire", "crypto", "auth", "engine", "record", "vendor"]),
    (
        "scenario",
        &[
            "time", "seed", "net", "wire", "crypto", "auth", "engine", "esp", "fault", "link", "record", "drive",
            "config", "vendor", "diagnose",
        ],
    ),
    ("preflight", &["time", "wire", "crypto", "engine", "esp", "config"]),
    (
        "load",
        &[
            "time", "seed", "net", "wire", "crypto", "auth", "engine", "esp", "fault", "link", "record", "drive",
            "config",
        ],
    ),
    (
        "report",
        &[
            "time",
            "net",
            "wire",
            "crypto",
            "engine",
            "esp",
            "record",
            "vendor",
            "diagnose",
            "scenario",
            "preflight",
            "load",
            "config",
        ],
    ),
    (
        "cli",
        &[
            "time",
            "seed",
            "net",
            "wire",
            "crypto",
            "auth",
            "engine",
            "esp",
            "fault",
            "link",
            "record",
            "drive",
            "config",
            "vendor",
            "diagnose",
            "scenario",
            "load",
            "preflight",
            "report",
        ],
    ),
    ("main", &["cli"]),
    ("lib", &[]),
];

/// Files in which `unsafe` is allowed.
const UNSAFE: &[&str] = &["src/crypto/lc.rs", "src/link/udp/"];

/// What the sans-IO modules must not name of the standard library.
const SANS_IO: &[&str] = &["time", "seed", "net", "wire", "crypto", "auth", "engine", "esp", "fault"];
const OUTSIDE: &[&str] = &["std::thread", "std::fs", "std::process", "std::env", "std::io", "tokio", "nix"];

/// rustls takes application data through a trait of `std::io`; here it writes to memory, and one octet only.
const IN_MEMORY: &[(&str, &str)] = &[("src/auth/eap/tls.rs", "auth names std::io::Write")];

/// Longest file; past this it is split by exchange or seam.
const LONGEST: usize = 800;

fn sources() -> Vec<(PathBuf, String)> {
    fn walk(dir: &Path, out: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(dir).expect("a source directory") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, out);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = std::fs::read_to_string(&path).expect("a source file");
                out.push((path, text));
            }
        }
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut out = Vec::new();
    walk(&root.join("src"), &mut out);
    out.iter_mut().for_each(|(path, _)| *path = path.strip_prefix(root).expect("below the root").to_path_buf());
    out.sort();
    out
}

/// The top module that a file belongs to.
fn module_of(path: &Path) -> String {
    let name = path.components().nth(1).expect("src/<module>").as_os_str().to_string_lossy();
    name.trim_end_matches(".rs").to_owned()
}

/// Collects the paths that a file names, tests left out.
#[derive(Default)]
struct Paths {
    named: Vec<String>,
    has_unsafe: bool,
}

impl Paths {
    fn of(text: &str) -> Self {
        let file = syn::parse_file(text).expect("the crate compiles");
        let mut paths = Paths::default();
        paths.visit_file(&file);
        paths
    }

    fn tree(&mut self, prefix: String, tree: &syn::UseTree) {
        let join = |name: &syn::Ident| if prefix.is_empty() { name.to_string() } else { format!("{prefix}::{name}") };
        match tree {
            syn::UseTree::Path(path) => self.tree(join(&path.ident), &path.tree),
            syn::UseTree::Name(name) => self.named.push(join(&name.ident)),
            syn::UseTree::Rename(name) => self.named.push(join(&name.ident)),
            syn::UseTree::Glob(_) => self.named.push(prefix),
            syn::UseTree::Group(group) => group.items.iter().for_each(|item| self.tree(prefix.clone(), item)),
        }
    }
}

impl<'ast> Visit<'ast> for Paths {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let test = item.attrs.iter().any(|a| a.path().is_ident("cfg"));
        if !test {
            syn::visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(String::new(), &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        self.named.push(path.segments.iter().map(|s| s.ident.to_string()).collect::<Vec<_>>().join("::"));
        syn::visit::visit_path(self, path);
    }

    fn visit_expr_unsafe(&mut self, unsafe_: &'ast syn::ExprUnsafe) {
        self.has_unsafe = true;
        syn::visit::visit_expr_unsafe(self, unsafe_);
    }
}

/// Violations of the import rule in one file's text.
fn violations(module: &str, text: &str) -> Vec<String> {
    let allowed: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let Some(allowed) = allowed.get(module) else { return vec![format!("module {module} is not in the table")] };
    let mut found = Vec::new();
    for named in Paths::of(text).named {
        let inside = named.strip_prefix("crate::").or_else(|| named.strip_prefix("ikelab::"));
        if let Some(target) = inside.and_then(|p| p.split("::").next()) {
            let known = MAY_IMPORT.iter().any(|(name, _)| *name == target);
            if known && target != module && !allowed.contains(&target) {
                found.push(format!("{module} names {target} ({named})"));
            }
        }
        if SANS_IO.contains(&module) {
            for outside in OUTSIDE {
                if named == *outside || named.starts_with(&format!("{outside}::")) {
                    found.push(format!("{module} names {named}"));
                }
            }
        }
    }
    found
}

#[test]
fn modules_import_only_what_lies_below_them() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !is_test_file(path))
        .flat_map(|(path, text)| {
            let excused = |v: &String| IN_MEMORY.iter().any(|(file, what)| path.ends_with(file) && v == what);
            let found = violations(&module_of(path), text).into_iter().filter(move |v| !excused(v));
            found.map(move |v| format!("{}: {v}", path.display()))
        })
        .collect();
    assert!(found.is_empty(), "the import rule of ARCHITECTURE.md is broken:\n{}", found.join("\n"));
}

/// A persona's log is written from what its own engine tells and from its configuration: it cannot know what a scenario or a
/// rule is called, because it cannot name them.
#[test]
fn the_writer_of_a_personas_log_sees_one_engine_only() {
    let logs: Vec<_> = sources().into_iter().filter(|(path, _)| path.starts_with("src/vendor/persona/log")).collect();
    let one = sources().into_iter().filter(|(path, _)| path.ends_with("src/vendor/persona/log.rs"));
    let all: Vec<_> = logs.into_iter().chain(one).collect();
    assert!(all.len() >= 5, "{}", all.len());
    for (path, text) in &all {
        for named in Paths::of(text).named {
            let Some(inside) = named.strip_prefix("crate::") else { continue };
            let fits =
                ["engine::", "wire::", "vendor::persona", "config::Vendor"].iter().any(|m| inside.starts_with(m));
            assert!(fits, "{}: {named}", path.display());
        }
        // What the engine refuses on purpose it says in words of the rule's making.
        assert!(!text.contains("LocalFault::Other"), "{}", path.display());
    }
}

#[test]
fn the_import_rule_can_fail() {
    assert_eq!(violations("engine", "use crate::wire::Message;"), Vec::<String>::new());
    assert_eq!(violations("engine", "use crate::{wire::Message, fault::Rule};").len(), 1);
    assert_eq!(violations("engine", "fn f() { crate::link::open(); }").len(), 1);
    assert_eq!(violations("engine", "use std::thread;").len(), 1);
    assert_eq!(violations("engine", "#[cfg(test)] mod tests { use crate::link::sim; }"), Vec::<String>::new());
    assert_eq!(violations("nowhere", "").len(), 1);
}

#[test]
fn unsafe_stands_only_where_it_may() {
    let found: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !UNSAFE.iter().any(|allowed| path.to_string_lossy().starts_with(allowed)))
        .filter(|(_, text)| Paths::of(text).has_unsafe)
        .map(|(path, _)| path.display().to_string())
        .collect();
    assert!(found.is_empty(), "unsafe outside {UNSAFE:?}: {found:?}");
}

#[test]
fn no_file_is_longer_than_a_reader_likes() {
    let long: Vec<String> = sources()
        .iter()
        .filter(|(path, _)| !is_test_file(path))
        .map(|(path, text)| (path, text.lines().count()))
        .filter(|(_, lines)| *lines > LONGEST)
        .map(|(path, lines)| format!("{}: {lines} lines", path.display()))
        .collect();
    assert!(long.is_empty(), "split these: {long:?}");
}

/// Unit tests may reach further than the code they test.
fn is_test_file(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests") || path.ends_with("tests.rs") || path.ends_with("testing.rs")
}
