//! A site, and the fault that it meets.

use std::fmt;
use std::str::FromStr;

/// How a life begins; see `tests/c/fault_child.c`.
pub const SCENARIOS: [&str; 7] = ["fresh", "resume", "recover", "moved", "lost", "torn", "leftovers"];

/// One call of the library: the `number`-th on this file in this scenario's life.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Site {
    pub scenario: String,
    pub call: String,
    pub name: String,
    pub number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum When {
    Once,
    /// From the site on, each such call, whatever its file.
    Ever,
}

/// A site and its fault, as WALREC_CASE names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    pub site: Site,
    pub when: When,
    pub what: String,
}

impl Case {
    /// What the shim is told.
    pub fn fault(&self) -> String {
        let Site { call, name, number, .. } = &self.site;
        format!("{call} {name} {number} {} {}", self.when, self.what)
    }

    fn is_kill(&self) -> bool {
        self.what.starts_with("KILL")
    }

    /// The one case that WALREC_CASE names, if it is of these; else all of them.
    pub fn narrow(cases: Vec<Self>) -> Vec<Self> {
        let Ok(text) = std::env::var("WALREC_CASE") else { return cases };
        let case: Self = text.parse().unwrap_or_else(|error| panic!("WALREC_CASE={text}: {error}"));
        let kills = cases.first().is_some_and(Self::is_kill);
        if case.is_kill() == kills { vec![case] } else { Vec::new() }
    }

    /// The error's number, as the library's messages give it.
    pub fn os_error(&self) -> Option<String> {
        let number = match &*self.what {
            "EIO" => 5,
            "ENOMEM" => 12,
            "EMFILE" => 24,
            "ENOSPC" => 28,
            "EROFS" => 30,
            "EDQUOT" => 122,
            _ => return None,
        };
        Some(format!("(os error {number})"))
    }
}

impl fmt::Display for When {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.pad(if *self == Self::Once { "once" } else { "ever" })
    }
}

impl fmt::Display for Case {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} {}", self.site.scenario, self.fault())
    }
}

impl FromStr for Case {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let words: Vec<&str> = text.split(' ').collect();
        let &[scenario, call, name, number, when, what] = &*words else {
            return Err(format!("six words are wanted: {text:?}"));
        };
        let number = number.parse().map_err(|error| format!("{number}: {error}"))?;
        let when = match when {
            "once" => When::Once,
            "ever" => When::Ever,
            other => return Err(format!("once or ever, not {other}")),
        };
        let site = Site { scenario: scenario.into(), call: call.into(), name: name.into(), number };
        Ok(Self { site, when, what: what.into() })
    }
}
