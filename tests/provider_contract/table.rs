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
    cases: BTreeMap<String, BTreeMap<String, (bool, Duration)>>,
}

#[derive(Default)]
pub struct Table(Mutex<Rows>);

impl Table {
    fn rows(&self) -> MutexGuard<'_, Rows> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn note(&self, case: &str, driver: &str, passed: bool, took: Duration) {
        let mut rows = self.rows();
        if !rows.drivers.iter().any(|known| known == driver) {
            rows.drivers.push(driver.to_owned());
        }
        rows.cases.entry(case.to_owned()).or_default().insert(driver.to_owned(), (passed, took));
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
                    Some((true, took)) => format!("ok {:6.2} s", took.as_secs_f64()),
                    Some((false, took)) => format!("FAILED {:.2} s", took.as_secs_f64()),
                    None => "-".to_owned(),
                };
                write!(f, "  {cell:>14}")?;
            }
        }
        Ok(())
    }
}
