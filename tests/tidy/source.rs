//! The repository's files, and as much of Rust's syntax as the rules need: where test code begins,
//! what is a comment, which paths a file names.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// One text file of the repository.
#[derive(Debug)]
pub(crate) struct File {
    /// Path from the repository's root, with slashes.
    pub(crate) path: String,
    pub(crate) text: String,
}

impl File {
    /// What stands outside of test modules; empty for a file that is a test module as a whole.
    pub(crate) fn without_tests(&self, tests: &BTreeSet<String>) -> &str {
        if tests.contains(&self.path) {
            return "";
        }
        let inline = self.text.match_indices("\n#[cfg(test)]\nmod ");
        let cut = inline.map(|(at, _)| at).find(|&at| {
            let item = &self.text[at + "\n#[cfg(test)]\n".len()..];
            item.lines().next().is_some_and(|line| line.ends_with('{'))
        });
        &self.text[..cut.unwrap_or(self.text.len())]
    }
}

/// Every text file of the repository, sorted by path; build output and tool caches left out.
pub(crate) fn files() -> Vec<File> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut open = vec![root.to_owned()];
    let mut files = Vec::new();
    while let Some(directory) = open.pop() {
        let entries = fs::read_dir(&directory).expect("a directory of the repository");
        for entry in entries {
            let entry = entry.expect("a directory entry");
            let (path, name) = (entry.path(), entry.file_name());
            if entry.file_type().expect("a kind of file").is_dir() {
                let name = name.to_string_lossy();
                let built = ["target", "artifacts", "coverage", "__pycache__", "node_modules"];
                if name != ".git" && !built.contains(&&*name) {
                    open.push(path);
                }
            } else if let Ok(text) = fs::read_to_string(&path) {
                files.push(File { path: relative(root, &path), text });
            }
        }
    }
    files.sort_by(|a, b| a.path.cmp(&b.path));
    files
}

/// The paths of the files that their parents declare as test modules (`#[cfg(test)] mod tests;`).
pub(crate) fn test_modules(files: &[File]) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for file in files {
        let Some(directory) = file.path.strip_suffix(".rs") else { continue };
        for (at, attribute) in file.text.match_indices("#[cfg(test)]\nmod ") {
            let item = file.text[at + attribute.len()..].lines().next().unwrap_or_default();
            if let Some(name) = item.strip_suffix(';') {
                found.insert(format!("{directory}/{name}.rs"));
            }
        }
    }
    found
}

/// The code without its line comments.
pub(crate) fn without_comments(code: &str) -> String {
    let mut text = String::with_capacity(code.len());
    for line in code.lines() {
        // `//` inside a string stands behind something, as in `http://`.
        let comment = line
            .match_indices("//")
            .map(|(at, _)| at)
            .find(|&at| line[..at].chars().next_back().is_none_or(char::is_whitespace));
        text.push_str(&line[..comment.unwrap_or(line.len())]);
        text.push('\n');
    }
    text
}

/// Every path that the code names: those of `use` with their braces spelled out, and those inside
/// the code, as `a::b::c`.
pub(crate) fn paths(code: &str) -> BTreeSet<String> {
    let code = without_comments(code);
    let mut paths = BTreeSet::new();
    let is_path = |c: char| c.is_alphanumeric() || c == '_' || c == ':';
    for word in code.split(|c: char| !is_path(c)).filter(|word| word.contains("::")) {
        paths.insert(word.to_owned());
    }
    for (at, _) in code.match_indices("use ") {
        let own_line = code[..at].rsplit('\n').next().unwrap_or_default();
        if own_line.chars().any(|c| !c.is_whitespace()) && !own_line.contains("pub") {
            continue;
        }
        let tree = code[at + "use ".len()..].split(';').next().unwrap_or_default();
        flatten("", tree, &mut paths);
    }
    paths
}

/// `std::{fs, time::{Duration, Instant}}` becomes `std::fs`, `std::time::Duration` and so on.
fn flatten(prefix: &str, tree: &str, paths: &mut BTreeSet<String>) {
    let tree = tree.trim();
    let Some((head, rest)) = tree.split_once('{') else {
        if !tree.is_empty() {
            let path = tree.split(" as ").next().unwrap_or(tree);
            paths.insert(format!("{prefix}{path}"));
        }
        return;
    };
    let prefix = format!("{prefix}{head}");
    let inner = rest.strip_suffix('}').unwrap_or(rest);
    let (mut depth, mut start) = (0_usize, 0);
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                flatten(&prefix, &inner[start..at], paths);
                start = at + 1;
            }
            _ => {}
        }
    }
    flatten(&prefix, &inner[start..], paths);
}

fn relative(root: &Path, path: &Path) -> String {
    let parts: PathBuf = path.strip_prefix(root).expect("it lies below the root").into();
    parts.components().map(|part| part.as_os_str().to_string_lossy()).collect::<Vec<_>>().join("/")
}

#[test]
fn use_trees_are_spelled_out() {
    let code = "//! use hyper;\npub use std::{fs, time::{Duration as D, Instant}};\n\
                fn f() { let x = tokio::spawn(\"http://a::b\"); } // tracing::info\n";
    let found = paths(code);
    for path in ["std::fs", "std::time::Duration", "std::time::Instant", "tokio::spawn"] {
        assert!(found.contains(path), "{path} is not in {found:?}");
    }
    assert!(!found.iter().any(|path| path.contains("tracing") || path.contains("hyper")));
}

#[test]
fn test_code_is_left_out() {
    let file = |path: &str, text: &str| File { path: path.to_owned(), text: text.to_owned() };
    let files = [
        file(
            "src/a.rs",
            "//! a\n#[cfg(test)]\nmod b;\nfn f() {}\n\n#[cfg(test)]\nmod tests {\n}\n",
        ),
        file("src/a/b.rs", "fn g() {}"),
    ];
    let tests = test_modules(&files);
    assert_eq!(tests, BTreeSet::from(["src/a/b.rs".to_owned()]));
    assert!(files[0].without_tests(&tests).ends_with("fn f() {}\n"));
    assert_eq!(files[1].without_tests(&tests), "");
}
