//! Defects that are planted on purpose, to show that the tests of faults can fail: in builds with the feature `defects`,
//! which no release build can have. The variable `INNKEEPER_DEFECT` names the one.

#[cfg(all(feature = "defects", not(debug_assertions)))]
compile_error!("the feature defects plants defects: it is for tests, and never in an optimised build");

/// What is done wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Defect {
    /// A VM that was asked for before is asked for under another key.
    ForgottenKey,
    /// A read that failed counts as one that showed nothing.
    FailedReadIsAbsent,
}

impl Defect {
    /// Whether it is done wrong in this run.
    #[cfg(feature = "defects")]
    pub(crate) fn is_planted(self) -> bool {
        let name = match self {
            Self::ForgottenKey => "forgotten-key",
            Self::FailedReadIsAbsent => "failed-read-is-absent",
        };
        std::env::var("INNKEEPER_DEFECT").is_ok_and(|planted| planted == name)
    }

    /// Never.
    #[cfg(not(feature = "defects"))]
    pub(crate) fn is_planted(self) -> bool {
        let _ = self;
        false
    }
}
