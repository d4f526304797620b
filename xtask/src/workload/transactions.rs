//! The mix of transactions: read from `transactions.sql`, drawn by weight.

use rand::Rng;

use super::load::Writes;

const SCRIPT: &str = include_str!("transactions.sql");

/// Written inside every transaction. It asks the server who it is, instead of trusting what the
/// writer connected to: a pooler may change the server behind a connection.
const LEDGER: &str = "INSERT INTO public.workload_ledger (run, writer, number, server) \
    SELECT $1, $2, $3, system_identifier FROM pg_catalog.pg_control_system() RETURNING server";
/// The same where it is the only one.
const LEDGER_OF_GUEST: &str = "INSERT INTO xtask_drill.workload_ledger \
    (run, writer, number, server) \
    SELECT $1, $2, $3, system_identifier FROM pg_catalog.pg_control_system() RETURNING server";

/// Every transaction that writers know.
#[derive(Debug)]
pub(super) struct Mix {
    /// Each with its weight.
    transactions: Vec<(u32, Vec<&'static str>)>,
    weight: u32,
}

impl Mix {
    /// The mix of what a load writes.
    pub(super) fn of(writes: Writes) -> Mix {
        match writes {
            Writes::Sample => Mix::new(),
            Writes::Guest => Mix { transactions: vec![(1, vec![LEDGER_OF_GUEST])], weight: 1 },
        }
    }

    /// The mix of the sample.
    fn new() -> Mix {
        let mut mix = Mix { transactions: Vec::new(), weight: 0 };
        for section in SCRIPT.split("\n-- transaction ").skip(1) {
            let (header, body) = section.split_once('\n').unwrap_or((section, ""));
            let weight = header.rsplit(' ').next().and_then(|weight| weight.parse().ok());
            let weight: u32 = weight.unwrap_or(1);
            let statements = body.split(";\n").map(str::trim);
            let statements = statements.filter(|statement| !statement.is_empty());
            mix.weight += weight;
            mix.transactions.push((weight, statements.chain([LEDGER]).collect()));
        }
        mix
    }

    /// Draws the statements of a transaction; the last one is the ledger's.
    pub(super) fn draw(&self, random: &mut impl Rng) -> Vec<&'static str> {
        let mut ticket = random.random_range(0..self.weight);
        for (weight, statements) in &self.transactions {
            if ticket < *weight {
                return statements.clone();
            }
            ticket -= weight;
        }
        vec![LEDGER]
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
    fn a_guest_writes_its_ledger_and_nothing_else() {
        let guest = Mix::of(Writes::Guest).draw(&mut StdRng::seed_from_u64(1));
        assert_eq!(guest, [LEDGER.replace(Writes::Sample.ledger(), Writes::Guest.ledger())]);
    }

    #[test]
    fn every_transaction_ends_with_its_ledger_row() {
        let mix = Mix::new();
        let mut random = StdRng::seed_from_u64(1);
        let mut drawn = std::collections::HashSet::new();
        for _ in 0..5000 {
            let statements = mix.draw(&mut random);
            assert!(statements.len() > 1);
            assert_eq!(statements.last(), Some(&LEDGER));
            drawn.insert(statements);
        }
        assert_eq!(drawn.len(), mix.transactions.len());
    }
}
