//! Checks `ARCHITECTURE.md`: its table of rooms and the `crate::` paths in `src/` must agree.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use regex::Regex;

/// A row of the table.
struct Room {
    floor: u32,
    /// Names of rooms; `None` means any on a lower floor.
    imports: Option<BTreeSet<String>>,
}

/// All rooms may import it, so no row lists it.
const EVERYONES: &str = "units";

#[test]
fn the_imports_of_every_room_are_those_of_the_table() {
    let rooms = rooms();
    let mut wrong = Vec::new();
    let mut imports: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (room, file, code) in sources() {
        let Some(own) = rooms.get(&room) else {
            wrong.push(format!("{}: `{room}` is not in the table", file.display()));
            continue;
        };
        for other in crate_paths(&code) {
            let Some(there) = rooms.get(&other) else {
                wrong.push(format!("{}: `{other}` is not in the table", file.display()));
                continue;
            };
            let named = own.imports.as_ref().is_none_or(|imports| imports.contains(&other));
            let allowed = other == room || other == EVERYONES || named && there.floor < own.floor;
            if !allowed {
                wrong.push(format!("{}: imports `{other}`", file.display()));
            }
        }
        let used = imports.entry(room).or_default();
        used.extend(crate_paths(&code).into_iter().filter(|other| other != EVERYONES));
        // This many `super::` lead out of the room, where only `crate::` may lead.
        let steps = file.components().filter(|c| c.as_os_str() != "mod.rs").count();
        if code.contains(&"super::".repeat(steps)) {
            wrong.push(format!("{}: leaves its room by `super::`", file.display()));
        }
    }
    assert!(wrong.is_empty(), "ARCHITECTURE.md does not allow:\n{}", wrong.join("\n"));
    for (name, room) in &rooms {
        let mut used = imports.remove(name).unwrap_or_default();
        used.remove(name);
        if let Some(listed) = &room.imports {
            assert_eq!(listed, &used, "what ARCHITECTURE.md lists and `{name}` imports");
        }
    }
}

#[test]
fn the_table_allows_imports_of_lower_floors_only() {
    let rooms = rooms();
    for (name, room) in &rooms {
        for other in room.imports.iter().flatten() {
            let there = rooms.get(other).unwrap_or_else(|| panic!("{name}: no room `{other}`"));
            assert!(there.floor < room.floor, "{name} may not import {other}");
        }
    }
}

#[test]
fn every_room_of_the_table_is_declared_and_the_other_way_round() {
    let declared: BTreeSet<_> = Regex::new(r"(?m)^(?:pub )?mod (\w+);")
        .expect("it is valid")
        .captures_iter(&read("src/lib.rs"))
        .map(|found| found[1].to_owned())
        .collect();
    assert_eq!(declared, rooms().into_keys().collect());
}

#[test]
fn only_the_rooms_that_say_so_wait_or_read_the_environment() {
    let rooms_of = |pattern: &str| -> BTreeSet<String> {
        let pattern = Regex::new(pattern).expect("it is valid");
        sources().into_iter().filter(|(_, _, code)| pattern.is_match(code)).map(|s| s.0).collect()
    };
    let waiting = rooms_of(r"\.await\b");
    let may_wait = [
        "cli", "client", "clock", "download", "engine", "flow", "meet", "run", "selftest", "server",
    ]
    .map(String::from)
    .into();
    assert!(waiting.is_subset(&may_wait), "{waiting:?}");
    let reading = rooms_of(r"\benv::(var|args|current_dir)");
    assert!(reading.is_subset(&["cli".into()].into()), "{reading:?}");
}

#[test]
fn files_of_a_folder_do_not_import_each_other_in_a_circle() {
    for folder in ["capacity", "cli", "flow", "flow/config", "flow/executor", "flow/gateway"] {
        let mut imports = imports_within(folder);
        // Without a cycle, files that import none of the others can be removed until nothing remains.
        while let Some(free) = imports.iter().find(|(_, others)| others.is_empty()) {
            let free = free.0.clone();
            imports.remove(&free);
            imports.values_mut().for_each(|others| _ = others.remove(&free));
        }
        assert!(imports.is_empty(), "{folder}: a circle: {imports:?}");
    }
}

#[test]
fn no_command_imports_another() {
    let command = Regex::new(r"Command::\w+\(args\) => (\w+)::main").expect("it is valid");
    let text = read("src/cli/mod.rs");
    let commands: BTreeSet<&str> =
        command.captures_iter(&text).map(|found| found.extract::<1>().1[0]).collect();
    assert!(commands.len() > 10, "{commands:?}");
    for (file, others) in imports_within("cli") {
        let named = others.iter().find(|other| commands.contains(other.as_str()));
        assert!(
            file == "mod" || named.is_none(),
            "`cli/{file}` imports the command {named:?}; what both need belongs in a file of its own"
        );
    }
}

/// The files of a folder with their imports from each other. A subfolder counts as one file; anything not
/// declared in a separate file belongs to `mod`.
fn imports_within(folder: &str) -> BTreeMap<String, BTreeSet<String>> {
    let folder: Vec<&str> = folder.split('/').collect();
    let own: Vec<(Vec<String>, String)> = sources()
        .into_iter()
        .filter_map(|(_, path, code)| {
            let mut module: Vec<String> =
                path.with_extension("").iter().map(|it| it.to_string_lossy().into()).collect();
            (module.len() > folder.len() && module.iter().zip(&folder).all(|(a, b)| a == b)).then(
                || {
                    if module.len() > folder.len() + 1 && module.ends_with(&["mod".into()]) {
                        module.pop();
                    }
                    (module, code)
                },
            )
        })
        .collect();
    let files: BTreeSet<&String> = own.iter().map(|(module, _)| &module[folder.len()]).collect();
    let mut imports = BTreeMap::<String, BTreeSet<String>>::new();
    for (module, code) in &own {
        let name = &module[folder.len()];
        let used = imports.entry(name.clone()).or_default();
        for path in paths(code) {
            let ups = path.iter().take_while(|step| *step == "super").count();
            let is_mod = name == "mod";
            let mut whole: Vec<String> = match path[0].as_str() {
                "crate" => Vec::new(),
                "self" if is_mod => module[..module.len() - 1].to_vec(),
                "super" if !is_mod => module[..module.len() - ups].to_vec(),
                _ => continue,
            };
            whole.extend(path[ups.max(1)..].iter().cloned());
            let inside =
                whole.len() > folder.len() && whole.iter().zip(&folder).all(|(a, b)| a == b);
            if let (true, Some(step)) = (inside, whole.get(folder.len())) {
                used.insert(if files.contains(step) { step.clone() } else { "mod".into() });
            }
        }
        used.remove(name);
    }
    imports
}

/// All paths that begin with `crate`, `self` or `super`, with groups in braces expanded.
fn paths(code: &str) -> Vec<Vec<String>> {
    let start = Regex::new(r"\b(?:crate|self|super)::").expect("it is valid");
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = start.find_at(code, from) {
        let before = code[..at.start()].chars().next_back();
        from = at.end();
        // The middle of a path does not start one, nor does `self` as a value.
        if before.is_none_or(|c| c != ':') {
            from = path_from(&code[at.start()..], &[], &mut found) + at.start();
        }
    }
    found
}

/// Reads one path or group that continues the path `before`; returns its length.
fn path_from(code: &str, before: &[String], found: &mut Vec<Vec<String>>) -> usize {
    let mut path = before.to_vec();
    let mut at = 0;
    loop {
        let rest = &code[at..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut inner = 1;
            loop {
                let text = &group[inner - 1..];
                let skipped = text.len() - text.trim_start_matches([' ', '\n', ',']).len();
                inner += skipped;
                match group[inner - 1..].chars().next() {
                    None | Some('}') => return at + inner + 1,
                    Some(_) => inner += path_from(&group[inner - 1..], &path, found).max(1),
                }
            }
        }
        let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
        path.push(rest[..end].to_owned());
        at += end;
        match code[at..].strip_prefix("::") {
            Some(_) => at += 2,
            None => {
                found.push(path);
                return at;
            }
        }
    }
}

/// The table of `ARCHITECTURE.md`, by the names of modules.
fn rooms() -> BTreeMap<String, Room> {
    let row =
        Regex::new(r"(?m)^\| (\d+) \| `(\w+)(?:/|\.rs)` \|.*\| ?(.*?) ?\|$").expect("it is valid");
    let text = read("ARCHITECTURE.md");
    let rows: Vec<_> = row.captures_iter(&text).collect();
    let lines = text.lines().filter(|line| line.starts_with("| ") && !line.contains("Floor"));
    assert_eq!(rows.len(), lines.count(), "a row of the table is not of the form of the others");
    let of_row = |row: &regex::Captures| {
        let imports = (&row[3] != "what it needs").then(|| {
            row[3].split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect()
        });
        (row[2].to_owned(), Room { floor: row[1].parse().expect("it is digits"), imports })
    };
    rows.iter().map(of_row).collect()
}

/// Every file of a room: the room, the path below `src/`, its code without comments and tests.
fn sources() -> Vec<(String, PathBuf, String)> {
    let mut found = Vec::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).expect("src/ can be read") {
            let path = entry.expect("src/ can be read").path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let below = path.strip_prefix(&root).expect("it is below").to_owned();
            let first = below.iter().next().expect("it has a name").to_string_lossy();
            let room = first.trim_end_matches(".rs").to_owned();
            if path.extension().is_none_or(|e| e != "rs") || room == "lib" || room == "main" {
                continue;
            }
            let text = fs::read_to_string(&path).expect("it is text");
            let code = text.split("\n#[cfg(test)]\nmod ").next().unwrap_or_default();
            let code: String = code
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
                .flat_map(|line| [line, "\n"])
                .collect();
            found.push((room, below, code));
        }
    }
    assert!(!found.is_empty());
    found
}

/// The first names of all paths that begin with `crate::`, groups in braces included.
fn crate_paths(code: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (at, start) in code.match_indices("crate::") {
        let rest = &code[at + start.len()..];
        let Some(group) = rest.strip_prefix('{') else {
            names.extend(first_name(rest));
            continue;
        };
        let mut depth = 0;
        let mut path_begins = true;
        for (at, c) in group.char_indices() {
            if path_begins && !c.is_whitespace() {
                names.extend(first_name(&group[at..]));
                path_begins = false;
            }
            match c {
                '{' => depth += 1,
                '}' if depth == 0 => break,
                '}' => depth -= 1,
                ',' if depth == 0 => path_begins = true,
                _ => {}
            }
        }
    }
    names
}

fn first_name(path: &str) -> Option<String> {
    let path = path.trim_start();
    let end = path.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(path.len());
    (end > 0).then(|| path[..end].to_owned())
}

fn read(file: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).expect("it is there")
}

#[test]
fn paths_are_taken_apart() {
    let code = "use super::{Exit, print::{self, Out}}; use crate::cli::problem::Problem;\n\
                let x = self::f(super::super::g::<A>());";
    let shown: Vec<String> = paths(code).iter().map(|path| path.join("::")).collect();
    let expected = [
        "super::Exit",
        "super::print::self",
        "super::print::Out",
        "crate::cli::problem::Problem",
        "self::f",
        "super::super::g::",
    ];
    assert_eq!(shown, expected);
}

#[test]
fn paths_are_found_in_every_way_of_writing_them() {
    let code = "use crate::wire::Target; use crate::{\n  client::{Call, Client},\n  flow,\n};\n\
                let x = crate::units::Rate::new(); pub(crate) fn f() {}";
    let expected = ["wire", "client", "flow", "units"].map(String::from);
    assert_eq!(crate_paths(code), expected.into());
}

#[test]
fn one_file_alone_writes_to_stdout_and_stderr() {
    let others = sources().into_iter().filter(|(_, path, _)| *path != Path::new("cli/print.rs"));
    let printing = ["io::stdout()", "io::stderr()", "print!(", "println!("];
    let found: Vec<_> = others
        .filter(|(_, _, code)| printing.iter().any(|word| code.contains(word)))
        .map(|(_, path, _)| path)
        .collect();
    assert!(found.is_empty(), "{found:?} print past cli/print.rs");
}
