//! Rules about single lines: their length, words with a better replacement, and things that only
//! one file may do.

use super::{File, Offence};

/// The longest line, in characters.
const LONGEST_LINE: usize = 100;
/// The longest file of code, in lines: a longer one holds two things.
const LONGEST_FILE: usize = 500;

/// Words that appear nowhere, with what to do instead.
const BANNED_WORDS: [(&str, &str); 6] = [
    ("TODO", "do it, or file an issue"),
    ("FIXME", "mend it, or file an issue"),
    ("XXX", "say what is the matter"),
    ("src", "name the side `source`"),
    ("dst", "name the side `target`"),
    ("dest", "name the side `target`"),
];

/// Pieces of code that appear nowhere, with what to do instead.
const BANNED_CODE: [(&str, &str); 4] = [
    ("dbg!(", "tell it through the story, or remove it"),
    ("#[ignore", "skip by name with `skip!`, which is counted"),
    ("[allow(", "use `expect` with a reason: it fails once it is not needed"),
    ("process::exit", "return a `Failure` with its kind; only `main` ends the process"),
];

/// Pieces of code that only one file may hold, outside tests.
const OWNED: [(&str, &[&str]); 12] = [
    ("Command::new", &["process.rs"]),
    ("xshell", &["process.rs"]),
    ("env::var", &["config.rs"]),
    ("println!", &["ui.rs"]),
    ("print!(", &["ui.rs"]),
    // Those of holder and guardian are pipes to the tool that started them.
    ("stdout()", &["ui.rs", "cutover/holder.rs", "cutover/guardian.rs"]),
    ("stderr()", &["ui.rs"]),
    ("tokio_postgres::connect", &["pg/endpoint.rs"]),
    ("tokio_postgres::Config", &["pg/endpoint.rs"]),
    ("NoTls", &["pg/endpoint.rs"]),
    ("ureq::", &["rag/http.rs"]),
    // An identifier that is put into quotes by hand forgets the quotes inside it.
    (r#""\"{"#, &["pg/endpoint.rs"]),
];

/// Every line that breaks one of these rules.
pub(super) fn offences(files: &[File]) -> Vec<Offence> {
    let mut all = Vec::new();
    for file in files.iter().filter(|file| !file.path.ends_with(".md")) {
        all.extend(form(file));
        if !file.is_tidy() {
            all.extend(words(file));
        }
        if file.is_rust() {
            all.extend(owners(file));
        }
    }
    all
}

fn form(file: &File) -> Vec<Offence> {
    let mut all = Vec::new();
    let count = file.lines().count();
    if file.is_rust() && count > LONGEST_FILE {
        all.push(file.offence_whole(format!("{count} lines; split it, {LONGEST_FILE} are enough")));
    }
    if file.is_rust() && !file.text.starts_with("//! ") {
        all.push(file.offence(1, "begin with a `//!` line that says what the module is for"));
    }
    for (number, line) in file.lines() {
        let length = line.chars().count();
        if length > LONGEST_LINE {
            all.push(file.offence(number, format!("{length} characters; break the line")));
        }
    }
    all
}

fn words(file: &File) -> Vec<Offence> {
    let mut all = Vec::new();
    for (number, line) in file.lines() {
        for (word, instead) in BANNED_WORDS {
            if has_word(line, word) {
                all.push(file.offence(number, format!("`{word}`: {instead}")));
            }
        }
        for (code, instead) in BANNED_CODE {
            if line.contains(code) {
                all.push(file.offence(number, format!("`{code}`: {instead}")));
            }
        }
    }
    all
}

/// Whether a word stands in the line by itself or as a part of a name. A folder is no name.
fn has_word(line: &str, word: &str) -> bool {
    line.match_indices(word).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + word.len()..].chars().next();
        let is_folder = before == Some('/') || after == Some('/');
        let continues = |letter: Option<char>| letter.is_some_and(char::is_alphanumeric);
        !continues(before) && !continues(after) && !is_folder
    })
}

fn owners(file: &File) -> Vec<Offence> {
    let mut all = Vec::new();
    for (number, line) in file.production() {
        for (code, owners) in OWNED {
            let is_owner = owners.iter().any(|owner| file.path == format!("xtask/src/{owner}"));
            if line.contains(code) && !is_owner {
                all.push(file.offence(number, format!("`{code}` belongs to {}", owners[0])));
            }
        }
        if line.contains(".unwrap()") {
            all.push(file.offence(number, "`unwrap` outside tests: return the error"));
        }
    }
    all
}

mod tests {
    use super::super::file;
    use super::*;

    #[test]
    fn a_word_is_found_alone_and_in_a_name_but_not_in_a_path() {
        assert!(has_word("let src = 1;", "src"));
        assert!(has_word("let src_url = 1;", "src"));
        assert!(!has_word("xtask/src/main.rs", "src"));
        assert!(!has_word("let source = destination;", "dest"));
    }

    #[test]
    fn all_offences_of_a_file_are_told() {
        let bad = file(
            "xtask/src/bad.rs",
            "fn bad() { println!(); }\n// TODO\nfn worse() { one().unwrap(); }\n",
        );
        let found = offences(&[bad]);
        let places: Vec<&str> = found.iter().map(|offence| offence.place.as_str()).collect();
        let wanted = ["bad.rs:1", "bad.rs:2", "bad.rs:1", "bad.rs:3"];
        assert_eq!(places.len(), wanted.len(), "{found:?}");
        assert!(places.iter().zip(wanted).all(|(place, end)| place.ends_with(end)), "{found:?}");
    }

    #[test]
    fn tests_may_unwrap() {
        let good = file(
            "xtask/src/good.rs",
            "//! Good.\n#[cfg(test)]\nmod tests {\n    fn one() { two().unwrap(); }\n}\n",
        );
        assert_eq!(offences(&[good]), []);
    }
}
