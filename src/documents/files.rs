//! Files matched by a pattern: `photos/*.jpg`, `data/**/page-?.png`.

use std::io;
use std::path::{Path, PathBuf};

use glob::Pattern;

/// The maximum number of files for one pattern: their names are kept in memory.
const FILES_MAX: usize = 5_000_000;

/// The files that match a pattern, sorted by name. Relative patterns start at `base`.
///
/// In each part `*` matches any number of characters and `?` one; the part `**` matches any number of folders.
pub(super) fn matching_files(base: &Path, pattern: &str) -> io::Result<Vec<PathBuf>> {
    let (mut found, pattern) = match pattern.strip_prefix('/') {
        Some(rest) => (vec![PathBuf::from("/")], rest),
        None => (vec![base.to_owned()], pattern),
    };
    let parts: Vec<&str> =
        pattern.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    for (index, part) in parts.iter().enumerate() {
        let last = index + 1 == parts.len();
        let mut next = Vec::new();
        for folder in found {
            match *part {
                "**" => below(&folder, &mut next)?,
                part if part.contains(['*', '?']) => {
                    let pattern = pattern_of(part);
                    for (name, path) in entries(&folder)? {
                        // As in a shell, only a pattern with a dot finds hidden files.
                        let hidden = name.starts_with('.') && !part.starts_with('.');
                        if !hidden && pattern.matches(&name) && (!last || path.is_file()) {
                            next.push(path);
                        }
                    }
                }
                part => {
                    let path = folder.join(part);
                    if if last { path.is_file() } else { path.is_dir() } {
                        next.push(path);
                    }
                }
            }
            if next.len() > FILES_MAX {
                return Err(io::Error::other(format!("there are more than {FILES_MAX}")));
            }
        }
        found = next;
    }
    if parts.is_empty() {
        found.clear();
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// Collects a folder and all folders below it.
fn below(folder: &Path, found: &mut Vec<PathBuf>) -> io::Result<()> {
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for (name, path) in entries(&folder)? {
            // Links to folders could form cycles.
            if !name.starts_with('.') && path.is_dir() && !path.is_symlink() {
                open.push(path);
            }
        }
        found.push(folder);
        if found.len() > FILES_MAX {
            return Err(io::Error::other(format!("there are more than {FILES_MAX} folders")));
        }
    }
    Ok(())
}

/// The entries of a folder; empty if there is no such folder. Names that are not UTF-8 are skipped.
fn entries(folder: &Path) -> io::Result<Vec<(String, PathBuf)>> {
    // The empty path is the current folder.
    let place = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    if !place.is_dir() {
        return Ok(Vec::new());
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(place)? {
        if let Ok(name) = entry?.file_name().into_string() {
            let path = folder.join(&name);
            found.push((name, path));
        }
    }
    Ok(found)
}

/// A part of a pattern in which only `*` and `?` are special: a bracket is literal, and several stars count as
/// one.
fn pattern_of(part: &str) -> Pattern {
    let mut part = part.replace('[', "[[]");
    while part.contains("**") {
        part = part.replace("**", "*");
    }
    Pattern::new(&part).expect("nothing in it can be wrong")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks_stand_for_characters() {
        for (part, name, expected) in [
            ("*.jpg", "a.jpg", true),
            ("*.jpg", "a.jpeg", false),
            ("*", "anything", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*b*c", "a-b-b", false),
            ("page-?.png", "page-1.png", true),
            ("page-?.png", "page-12.png", false),
            ("a**b", "a-b", true),
            ("[a]*", "[a]b", true),
            ("[a]*", "ab", false),
            ("", "", true),
        ] {
            assert_eq!(pattern_of(part).matches(name), expected, "{part} {name}");
        }
    }

    #[test]
    fn patterns_find_files_in_the_order_of_their_names() {
        let folder = tempfile::tempdir().expect("a folder");
        let base = folder.path();
        for name in ["b.jpg", "a.jpg", "c.png", ".hidden.jpg", "in/d.jpg", "in/deep/e.jpg"] {
            let path = base.join(name);
            std::fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
            std::fs::write(path, name).expect("a file");
        }
        let found = |pattern: &str| {
            let found = matching_files(base, pattern).expect("readable");
            let name =
                |path: &PathBuf| path.strip_prefix(base).expect("below").display().to_string();
            found.iter().map(name).collect::<Vec<_>>()
        };
        assert_eq!(found("*.jpg"), ["a.jpg", "b.jpg"]);
        assert_eq!(found("**/*.jpg"), ["a.jpg", "b.jpg", "in/d.jpg", "in/deep/e.jpg"]);
        assert_eq!(found("in/*"), ["in/d.jpg"]);
        assert_eq!(found("c.png"), ["c.png"]);
        assert_eq!(found("*/nothing"), [""; 0]);
        assert_eq!(found(""), [""; 0]);
    }
}
