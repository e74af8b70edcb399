//! The table of cases and drivers that stands at the end of the output.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

#[derive(Default)]
struct Rows {
    drivers: Vec<String>,
    cases: BTreeMap<String, BTreeMap<String, Cell>>,
}

enum Cell {
    Passed(Duration),
    Failed(Duration),
    /// The case means nothing for the driver.
    Without(String),
}

#[derive(Default)]
pub struct Table(Mutex<Rows>);

impl Table {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, case: &str, driver: &str, passed: bool, took: Duration) {
        self.enter(case, driver, if passed { Cell::Passed(took) } else { Cell::Failed(took) });
    }

    pub fn without(&self, case: &str, driver: &str, why: &str) {
        self.enter(case, driver, Cell::Without(why.to_owned()));
    }

    fn enter(&self, case: &str, driver: &str, cell: Cell) {
        let mut rows = self.rows();
        if !rows.drivers.iter().any(|known| known == driver) {
            rows.drivers.push(driver.to_owned());
        }
        rows.cases.entry(case.to_owned()).or_default().insert(driver.to_owned(), cell);
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.rows();
        let width = rows.cases.keys().map(String::len).max().unwrap_or(0).max("case".len());
        write!(f, "{:width$}", "case")?;
        for driver in &rows.drivers {
            write!(f, "  {driver:>14}")?;
        }
        for (case, results) in &rows.cases {
            write!(f, "\n{case:width$}")?;
            for driver in &rows.drivers {
                let cell = match results.get(driver) {
                    Some(Cell::Passed(took)) => format!("ok {:6.2} s", took.as_secs_f64()),
                    Some(Cell::Failed(took)) => format!("FAILED {:.2} s", took.as_secs_f64()),
                    Some(Cell::Without(_)) => "not for it".to_owned(),
                    None => "-".to_owned(),
                };
                write!(f, "  {cell:>14}")?;
            }
        }
        for (case, results) in &rows.cases {
            for (driver, cell) in results {
                if let Cell::Without(why) = cell {
                    write!(f, "\n{case} is not for {driver}: {why}")?;
                }
            }
        }
        Ok(())
    }
}
