//! Unquoted words that two versions of YAML read differently.
//!
//! The tool's own reader follows YAML 1.2, kubectl and ArgoCD follow 1.1: there `on`, `y` and
//! `1_000` are not texts.

/// Every unquoted word that YAML 1.1 does not take for the text that YAML 1.2 sees, with its line.
pub fn ambiguous(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let mut block_indent: Option<usize> = None;
    for (number, line) in text.lines().enumerate() {
        let indent = line.len() - line.trim_start().len();
        if let Some(start) = block_indent {
            if line.trim().is_empty() || indent > start {
                continue;
            }
            block_indent = None;
        }
        let words = plain_words(line);
        if words.last().is_some_and(|word| matches!(word.as_str(), "|" | "|-" | "|+" | ">" | ">-"))
        {
            block_indent = Some(indent);
        }
        found.extend(words.into_iter().filter(|word| differs(word)).map(|word| (number + 1, word)));
    }
    found
}

/// The unquoted words of a line: keys, values and items, also those in flow style.
fn plain_words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote: Option<char> = None;
    let mut escaped = false;
    let mut previous = ' ';
    for letter in line.chars() {
        if let Some(open) = quote {
            let closes = letter == open && !escaped;
            escaped = open == '"' && letter == '\\' && !escaped;
            quote = if closes { None } else { quote };
            previous = letter;
            continue;
        }
        match letter {
            '"' | '\'' if word.trim().is_empty() => quote = Some(letter),
            '#' if previous == ' ' => break,
            '{' | '}' | '[' | ']' | ',' => words.push(std::mem::take(&mut word)),
            ' ' if matches!(previous, ':') || word.trim() == "-" => {
                words.push(std::mem::take(&mut word));
            }
            other => word.push(other),
        }
        previous = letter;
    }
    words.push(word);
    let trimmed = words.iter().map(|word| word.trim().trim_end_matches(':').to_string());
    trimmed.filter(|word| !word.is_empty() && word != "-").collect()
}

/// Whether YAML 1.1 reads this plain word as something that YAML 1.2 reads as text.
fn differs(word: &str) -> bool {
    const BOOLEANS: [&str; 6] = ["y", "n", "yes", "no", "on", "off"];
    let one_case = word == word.to_lowercase()
        || word == word.to_uppercase()
        || word.chars().skip(1).all(char::is_lowercase);
    if one_case && BOOLEANS.contains(&word.to_lowercase().as_str()) {
        return true;
    }
    let digits = word.trim_start_matches(['+', '-']);
    if !digits.starts_with(|letter: char| letter.is_ascii_digit()) {
        return false;
    }
    let octal = digits.len() > 1
        && digits.starts_with('0')
        && digits.chars().all(|letter| letter.is_digit(8) || letter == '_');
    let spaced = digits.contains('_')
        && digits.chars().all(|letter| letter.is_ascii_hexdigit() || "_xob.".contains(letter));
    let sixties = digits.contains(':')
        && digits.split(':').all(|part| {
            !part.is_empty() && part.chars().all(|letter| letter.is_ascii_digit() || letter == '.')
        });
    octal || spaced || sixties || is_date(digits)
}

fn is_date(word: &str) -> bool {
    let parts: Vec<&str> = word.splitn(3, '-').collect();
    let [year, month, day] = parts.as_slice() else { return false };
    let number = |text: &str, digits: usize| {
        text.len() == digits && text.chars().all(|letter| letter.is_ascii_digit())
    };
    number(year, 4) && number(month, 2) && day.get(..2).is_some_and(|day| number(day, 2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        ambiguous(text).into_iter().map(|(_, word)| word).collect()
    }

    #[test]
    fn bare_words_are_found_wherever_they_stand() {
        let text =
            "a: on\n- y\nb: { c: no, d: [off, 1_000] }\nn: 1\ne: 0440\nf: 12:30\ng: 2026-11-22\n";
        let expected = ["on", "y", "no", "off", "1_000", "n", "0440", "12:30", "2026-11-22"];
        assert_eq!(words(text), expected);
    }

    #[test]
    fn quoted_words_blocks_and_comments_are_left_alone() {
        let text =
            "a: \"on\"\nb: 'y'\nc: |\n  on\n  n: 1\nd: true # on\ne: x-on\nf: \"a \\\" on\"\n";
        assert_eq!(words(text), Vec::<String>::new());
    }
}
