//! Where the model's faults come from: random bytes, or one that is chosen.

/// The next run's faults.
#[derive(Clone, Debug)]
pub enum Faults {
    /// Random ones, half of the time none.
    Bytes(Vec<u8>),
    /// At one place where something can go wrong, in one of the ways it can; nothing else.
    Chosen {
        /// The how-manieth place, and the way. `None`: nothing goes wrong.
        at: Option<(usize, u8)>,
        /// In how many ways it could have gone wrong at each place that was come by.
        places: Vec<u8>,
    },
}

/// How late a request is heard that is heard late, in seconds: less than the settling time.
const LATE: i64 = 45;

impl Faults {
    pub fn chosen(at: Option<(usize, u8)>) -> Self {
        Self::Chosen { at, places: Vec::new() }
    }

    /// What goes wrong here, of so many `ways`; 0 for nothing. One byte in `of` stands for each way.
    pub fn next(&mut self, ways: u8, of: u8) -> u8 {
        match self {
            Self::Bytes(bytes) => {
                let way = bytes.pop().map_or(0, |byte| if byte < 128 { 0 } else { byte % of });
                if way > ways { 0 } else { way }
            }
            Self::Chosen { at, places } => {
                places.push(ways);
                at.filter(|(place, _)| *place + 1 == places.len()).map_or(0, |(_, way)| way)
            }
        }
    }

    pub fn late(&self) -> i64 {
        match self {
            Self::Bytes(bytes) => i64::try_from(bytes.len() % 59).unwrap(),
            Self::Chosen { .. } => LATE,
        }
    }
}
