//! Optional features of `io_uring`: what the proxy uses where the kernel has it, and works without.

use std::fmt;
use std::str::FromStr;

/// A feature that the kernel may lack, or an operator may switch off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Feature {
    /// Receives that complete several times, with a limit.
    RecvMultishotLimit,
    /// Waiting for clients is not counted as waiting for a disk (`IORING_ENTER_NO_IOWAIT`).
    NoIowait,
    /// Completions are made when the worker asks for them (`IORING_SETUP_DEFER_TASKRUN`).
    DeferTaskrun,
    /// Otherwise: at the worker's next system call, without an interrupt (`IORING_SETUP_COOP_TASKRUN`).
    CoopTaskrun,
    /// A worker's ring does what the worker does, and nothing else (`IORING_REGISTER_RESTRICTIONS`).
    Restrictions,
}

impl Feature {
    /// All, the latest first.
    pub const ALL: [Self; 5] =
        [Self::RecvMultishotLimit, Self::NoIowait, Self::DeferTaskrun, Self::CoopTaskrun, Self::Restrictions];

    /// Its name in messages and settings.
    pub fn name(self) -> &'static str {
        match self {
            Self::RecvMultishotLimit => "recv-multishot-limit",
            Self::NoIowait => "no-iowait",
            Self::DeferTaskrun => "defer-taskrun",
            Self::CoopTaskrun => "coop-taskrun",
            Self::Restrictions => "restrictions",
        }
    }
}

impl fmt::Display for Feature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Feature {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|feature| feature.name() == name);
        found.ok_or_else(|| format!("give one of {}", Self::ALL.map(Self::name).join(", ")))
    }
}

/// Some of the features.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FeatureSet(u8);

impl FeatureSet {
    /// None.
    pub const NONE: Self = Self(0);

    /// With this one.
    #[must_use]
    pub const fn with(self, feature: Feature) -> Self {
        Self(self.0 | 1 << feature as u8)
    }

    /// Without this one.
    #[must_use]
    pub(super) const fn without(self, feature: Feature) -> Self {
        Self(self.0 & !(1 << feature as u8))
    }

    /// Whether this one is among them.
    pub const fn has(self, feature: Feature) -> bool {
        self.0 & 1 << feature as u8 != 0
    }

    /// Each, the latest first.
    pub fn iter(self) -> impl Iterator<Item = Feature> {
        Feature::ALL.into_iter().filter(move |feature| self.has(*feature))
    }
}

impl FromIterator<Feature> for FeatureSet {
    fn from_iter<T: IntoIterator<Item = Feature>>(features: T) -> Self {
        features.into_iter().fold(Self::NONE, Self::with)
    }
}

/// The names, separated by commas; `-` for none.
impl fmt::Display for FeatureSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Self::NONE {
            return f.write_str("-");
        }
        for (nth, feature) in self.iter().enumerate() {
            f.write_str(if nth == 0 { "" } else { "," })?;
            feature.fmt(f)?;
        }
        Ok(())
    }
}
