//! The mix of transactions: read from `transactions.sql`, drawn by weight.

use std::ops::Range;

use rand::Rng;

const SCRIPT: &str = include_str!("transactions.sql");

/// Written inside every transaction. It asks the server who it is, instead of trusting what the
/// writer connected to: a pooler may change the server behind a connection.
const LEDGER: &str = "INSERT INTO public.workload_ledger (run, writer, number, server) \
    SELECT $1, $2, $3, system_identifier FROM pg_catalog.pg_control_system() RETURNING server";

/// Every transaction that writers know.
#[derive(Debug)]
pub(super) struct Mix {
    /// The statements of all transactions; the last one is the ledger's.
    pub(super) statements: Vec<&'static str>,
    transactions: Vec<(u32, Range<usize>)>,
    weight: u32,
}

impl Mix {
    /// The mix of the sample.
    pub(super) fn new() -> Mix {
        let mut mix = Mix { statements: Vec::new(), transactions: Vec::new(), weight: 0 };
        for section in SCRIPT.split("\n-- transaction ").skip(1) {
            let (header, body) = section.split_once('\n').unwrap_or((section, ""));
            let weight = header.rsplit(' ').next().and_then(|weight| weight.parse().ok());
            let weight: u32 = weight.unwrap_or(1);
            let first = mix.statements.len();
            let statements = body.split(";\n").map(str::trim);
            mix.statements.extend(statements.filter(|statement| !statement.is_empty()));
            mix.weight += weight;
            mix.transactions.push((weight, first..mix.statements.len()));
        }
        mix.statements.push(LEDGER);
        mix
    }

    /// Draws a transaction: the places of its statements, that of the ledger last.
    pub(super) fn draw(&self, random: &mut impl Rng) -> Vec<usize> {
        let mut ticket = random.random_range(0..self.weight);
        let mut drawn = 0..0;
        for (weight, range) in &self.transactions {
            drawn = range.clone();
            if ticket < *weight {
                break;
            }
            ticket -= weight;
        }
        drawn.chain([self.statements.len() - 1]).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    #[test]
    fn weights_are_hundredths() {
        assert_eq!(Mix::new().weight, 100);
    }

    #[test]
    fn every_transaction_ends_with_its_ledger_row() {
        let mix = Mix::new();
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn = std::collections::HashSet::new();
        for _ in 0..5000 {
            let statements = mix.draw(&mut random);
            assert!(statements.len() > 1);
            assert!(mix.statements[*statements.last().unwrap()].contains("workload_ledger"));
            drawn.insert(statements);
        }
        assert_eq!(drawn.len(), mix.transactions.len());
    }
}
