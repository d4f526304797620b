//! SQL cut into its statements. It knows comments and every way to quote, so that a semicolon
//! inside a function's body is no end; what the statements mean is left to the server.

/// One statement of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Statement {
    /// The line that it begins on, from 1.
    pub line: usize,
    /// Its text, without the semicolon and the comments before it.
    pub text: String,
    /// Its words in upper case, without comments and with every quoted piece as it stands.
    pub words: Vec<String>,
}

/// The statements of a text, in order.
pub fn split(text: &str) -> Vec<Statement> {
    let mut all = Vec::new();
    let mut open: Option<(usize, Vec<String>)> = None;
    let mut at = 0;
    while at < text.len() {
        let length = token_length(&text[at..]);
        let token = &text[at..at + length];
        if token == ";" {
            if let Some((start, words)) = open.take() {
                all.push(statement(text, start, at, words));
            }
        } else if !is_blank(token) {
            let (_, words) = open.get_or_insert_with(|| (at, Vec::new()));
            let is_quoted = token.contains(['\'', '"']) || token.starts_with('$');
            words.push(if is_quoted { token.to_string() } else { token.to_uppercase() });
        }
        at += length;
    }
    if let Some((start, words)) = open {
        all.push(statement(text, start, text.len(), words));
    }
    all
}

fn statement(text: &str, start: usize, end: usize, words: Vec<String>) -> Statement {
    let line = text[..start].matches('\n').count() + 1;
    Statement { line, text: text[start..end].trim_end().to_string(), words }
}

/// Whether a token is white space or a comment.
fn is_blank(token: &str) -> bool {
    token.starts_with("--") || token.starts_with("/*") || token.starts_with(char::is_whitespace)
}

/// How many bytes the token at the beginning of a text has; never none.
fn token_length(text: &str) -> usize {
    let first = text.chars().next().unwrap_or(' ');
    if text.starts_with("--") {
        text.find('\n').unwrap_or(text.len())
    } else if text.starts_with("/*") {
        comment_length(text)
    } else if first == '\'' {
        quoted_length(text, '\'', false)
    } else if first == '"' {
        quoted_length(text, '"', false)
    } else if text.starts_with("E'") || text.starts_with("e'") {
        1 + quoted_length(&text[1..], '\'', true)
    } else if let Some(tag) = dollar_tag(text) {
        text[tag.len()..].find(tag).map_or(text.len(), |end| end + 2 * tag.len())
    } else if first.is_whitespace() {
        text.find(|letter: char| !letter.is_whitespace()).unwrap_or(text.len())
    } else if is_word(first) {
        text.find(|letter: char| !is_word(letter)).unwrap_or(text.len())
    } else {
        first.len_utf8()
    }
}

fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_' || letter == '$'
}

/// Comments in slashes nest in SQL.
fn comment_length(text: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < text.len() {
        let rest = &text[at..];
        if rest.starts_with("/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with("*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                return at;
            }
        } else {
            at += rest.chars().next().map_or(1, char::len_utf8);
        }
    }
    text.len()
}

/// The length of what is quoted; the mark twice stands for itself and ends nothing.
fn quoted_length(text: &str, mark: char, has_escapes: bool) -> usize {
    let mut letters = text.char_indices().skip(1).peekable();
    while let Some((at, letter)) = letters.next() {
        if has_escapes && letter == '\\' {
            letters.next();
        } else if letter == mark && letters.next_if(|(_, next)| *next == mark).is_none() {
            return at + 1;
        }
    }
    text.len()
}

/// The opening of a dollar quote: `$$` or `$name$`.
fn dollar_tag(text: &str) -> Option<&str> {
    let rest = text.strip_prefix('$')?;
    let end = rest.find(|letter: char| !letter.is_alphanumeric() && letter != '_')?;
    let is_tag = rest[end..].starts_with('$') && !rest.starts_with(|one: char| one.is_numeric());
    is_tag.then(|| &text[..end + 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments_hide_semicolons() {
        let text = "-- first; not an end\nSELECT ';', \"a;b\", E'\\';', $x$ ; $$ ; $x$;\n\n\
                    /* ; /* ; */ ; */ CREATE\n  TABLE t (); DROP TABLE u";
        let all = split(text);
        let shown: Vec<(usize, &str)> =
            all.iter().map(|one| (one.line, one.text.as_str())).collect();
        assert_eq!(
            shown,
            [
                (2, "SELECT ';', \"a;b\", E'\\';', $x$ ; $$ ; $x$"),
                (4, "CREATE\n  TABLE t ()"),
                (5, "DROP TABLE u"),
            ]
        );
        assert_eq!(all[2].words, ["DROP", "TABLE", "U"]);
    }

    #[test]
    fn parameters_are_no_quotes_and_nothing_is_lost() {
        assert_eq!(split("SELECT $1; SELECT $2").len(), 2);
        assert_eq!(split(" ;; -- nothing\n"), []);
        assert_eq!(split("SELECT 'open").len(), 1);
    }
}
