//! The nearest valid name for a misspelt one.

/// What to write instead, from serde's own sentence about an unknown word: it names the wrong word
/// first and all valid ones after it, in backticks.
pub fn suggestion(message: &str) -> Option<String> {
    let sentence = &message[message.find("unknown ")?..];
    let mut words = sentence.split('`').skip(1).step_by(2);
    let wrong = words.next()?;
    let valid: Vec<&str> = words.collect();
    Some(match nearest(wrong, &valid) {
        Some(name) => format!("did you mean `{name}`?"),
        None => "`cargo xtask render --explain` lists every value".into(),
    })
}

/// The closest of some names, if one is close.
pub fn nearest<'a>(wrong: &str, valid: &[&'a str]) -> Option<&'a str> {
    let closest = valid.iter().min_by_key(|name| distance(wrong, name))?;
    let close_enough = distance(wrong, closest) <= wrong.chars().count().div_ceil(3).max(2);
    close_enough.then_some(*closest)
}

/// How many letters must be inserted, deleted, replaced or swapped with their neighbour.
fn distance(from: &str, to: &str) -> usize {
    let from: Vec<char> = from.chars().collect();
    let to: Vec<char> = to.chars().collect();
    let mut table = vec![vec![0; to.len() + 1]; from.len() + 1];
    for (row, line) in table.iter_mut().enumerate() {
        line[0] = row;
    }
    for (column, cell) in table[0].iter_mut().enumerate() {
        *cell = column;
    }
    for row in 1..=from.len() {
        for column in 1..=to.len() {
            let replaced = usize::from(from[row - 1] != to[column - 1]);
            let mut best = (table[row - 1][column - 1] + replaced)
                .min(table[row - 1][column] + 1)
                .min(table[row][column - 1] + 1);
            let swapped = row > 1
                && column > 1
                && from[row - 1] == to[column - 2]
                && from[row - 2] == to[column - 1];
            if swapped {
                best = best.min(table[row - 2][column - 2] + 1);
            }
            table[row][column] = best;
        }
    }
    table[from.len()][to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_misspelt_key_gets_its_neighbour() {
        let message = "storage: unknown field `calim`, expected one of `claim`, `class`, `size`";
        assert_eq!(suggestion(message).unwrap(), "did you mean `claim`?");
    }

    #[test]
    fn a_strange_key_gets_the_list() {
        let message = "unknown field `kubernetes_api`, expected `name` or `image`";
        assert!(suggestion(message).unwrap().contains("--explain"));
        assert_eq!(suggestion("invalid type: integer"), None);
    }
}
