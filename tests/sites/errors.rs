//! Each error that a call can give, at each site, once and for ever.
//!
//! What must hold whatever happens is held by the child: no crash and no hang, the watermark never moves after a failure, the
//! close always works, everything appended is there afterwards, in the same process too. Here it is held how much a fault may do:
//!
//! | fault | must end |
//! |---|---|
//! | an interruption, a short read or write | well |
//! | EAGAIN, no space, once | well, or the open is refused |
//! | no space for ever | well, refused, NOSPACE to the appends, or told by the close; not poisoned before that |
//! | no descriptor | as no space, and a close or an open may be told of it also when it is once |
//! | any error of a sync | refused, or poisoned |
//! | any other error | as it likes, but well only where the call is not needed (see [`is_dispensable`]) |
//!
//! An error that is told names the file, or its directory, and the number. Of a fault that stays, any of its calls may be told.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Instant;

use super::case::{Case, Site, When};
use super::random::{Random, number_from};
use super::stand::{Played, Stand, is_steady, sample_from};
use super::toolchain;

/// So many cases are in the short form.
const SAMPLE: u64 = 160;

/// What a call can meet.
fn errors_of(call: &str) -> &'static [&'static str] {
    match call {
        "create" => &["EIO", "ENOSPC", "EDQUOT", "EINTR", "EROFS", "EMFILE"],
        "openat" => &["EIO", "EINTR", "EMFILE"],
        "pread" => &["EIO", "EINTR", "SHORT"],
        "pwrite" => &["EIO", "ENOSPC", "EDQUOT", "EINTR", "EAGAIN", "SHORT"],
        "fallocate" | "fdatasync" | "fsync" => &["EIO", "ENOSPC", "EDQUOT", "EINTR"],
        "ftruncate" => &["EIO", "ENOSPC", "EDQUOT", "EINTR"],
        "mkdir" | "mkdirat" | "renameat" | "renameat2" | "linkat" => &["EIO", "ENOSPC", "EDQUOT", "EROFS"],
        "unlinkat" | "rmdir" => &["EIO", "EROFS"],
        "mmap" => &["ENOMEM"],
        "flock" | "fstat" | "fstatfs" | "readdir" => &["EIO"],
        other => panic!("a call that no error is listed for: {other}"),
    }
}

/// How a life ended, by the child's word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Ended {
    Well,
    Refused,
    NoSpace,
    Poisoned,
    Unclosed,
}

const ENDS: [(&str, Ended); 5] = [
    ("well", Ended::Well),
    ("refused", Ended::Refused),
    ("nospace", Ended::NoSpace),
    ("poisoned", Ended::Poisoned),
    ("unclosed", Ended::Unclosed),
];

const E_IO: i32 = -6;
const E_NOSPACE: i32 = -7;
const E_NOMEM: i32 = -14;

/// The child's `outcome WORD STATUS`.
fn ending_of(text: &str) -> Option<(Ended, i32)> {
    let line = text.lines().find_map(|line| line.strip_prefix("outcome "))?;
    let (word, status) = line.split_once(' ')?;
    let (_, ended) = ENDS.iter().find(|(name, _)| *name == word)?;
    Some((*ended, status.parse().ok()?))
}

/// Calls whose failure the library may pass over, since nothing depends on them.
fn is_dispensable(site: &Site) -> bool {
    let Site { call, name, .. } = site;
    match &**call {
        // What cannot be read stays uncompressed, with a word.
        "pread" | "openat" | "fstat" => true,
        // Whether the file system copies on write: then it is told not to, if it listens.
        "fstatfs" => true,
        // The copy of bytes that stay where they are in any case.
        _ if name.contains("quarantine") => true,
        // Whether a slot still has its name; free space.
        _ => false,
    }
}

/// Where nothing can be made in the stage's place, the stage lies in the log's directory.
fn falls_back(case: &Case) -> bool {
    let Site { call, name, .. } = &case.site;
    let of_stage = name == "stage" || name.starts_with("stage/");
    case.what == "EROFS" && of_stage && matches!(&**call, "create" | "mkdir" | "mkdirat")
}

fn may_end(case: &Case, ended: Ended, status: i32) -> bool {
    let sync = matches!(&*case.site.call, "fdatasync" | "fsync");
    let space = matches!(&*case.what, "ENOSPC" | "EDQUOT");
    let refused_with = |expected| ended == Ended::Refused && status == expected;
    match &*case.what {
        // Past the page cache nothing can be read from within a page: one that is short there for ever is an error.
        "SHORT" if case.site.call == "pread" && case.when != When::Once => ended == Ended::Well || refused_with(E_IO),
        "EINTR" | "SHORT" => ended == Ended::Well,
        // A small file is not written again.
        "EAGAIN" if case.when == When::Once => {
            ended == Ended::Well || refused_with(E_IO) || (ended == Ended::Unclosed && case.site.name.contains(".tmp"))
        }
        _ if sync => {
            let status_is_right = refused_with(if space { E_NOSPACE } else { E_IO });
            let told = status_is_right || matches!(ended, Ended::Poisoned | Ended::Unclosed);
            told || (ended == Ended::Well && is_dispensable(&case.site))
        }
        _ if space && case.when == When::Once => ended == Ended::Well || refused_with(E_NOSPACE),
        _ if space => refused_with(E_NOSPACE) || !matches!(ended, Ended::Poisoned | Ended::Refused),
        "ENOMEM" => refused_with(E_NOMEM),
        "EMFILE" => match ended {
            Ended::Well | Ended::Unclosed => true,
            Ended::NoSpace => case.when == When::Ever,
            Ended::Refused => status == E_IO,
            Ended::Poisoned => false,
        },
        _ => match ended {
            Ended::Well => is_dispensable(&case.site) || falls_back(case),
            Ended::Refused => status == E_IO,
            _ => true,
        },
    }
}

/// What was said names the file and the error's number.
fn is_named(case: &Case, text: &str) -> bool {
    let Some(number) = case.os_error() else { return true };
    let name = case.site.name.rsplit('/').next().unwrap_or_default();
    // A stage's own name is not the one it has here.
    let name = if name == "stage" { "walrec-" } else { name };
    // Where the log's own directory is made, its name is told.
    let name = if name == "." { "/log" } else { name };
    let directory = case.site.name.split('/').next().unwrap_or_default();
    let is_there =
        |line: &str| case.when == When::Ever || line.contains(name) || line.contains(&format!("/{directory}:"));
    text.lines().any(|line| line.contains(&number) && is_there(line))
}

fn judge(case: &Case, played: &Played) -> Result<Ended, String> {
    let text = &played.live.text;
    if !played.live.status.success() {
        return Err(format!("{}\n{text}", played.live.status));
    }
    let (ended, status) = ending_of(text).ok_or_else(|| format!("no outcome\n{text}"))?;
    if !may_end(case, ended, status) {
        return Err(format!("it may not end as {ended:?}\n{text}"));
    }
    if ended != Ended::Well && !is_named(case, text) {
        return Err(format!("neither file nor number are named\n{text}"));
    }
    Ok(ended)
}

type Row = (u64, u64, BTreeMap<Ended, u64>);

fn print(rows: &BTreeMap<(String, String, When), Row>) {
    toolchain::announce("  call       error   when  sites reached |    well refused nospace poisoned at close");
    for ((call, what, when), (sites, reached, ends)) in rows {
        let mut line = format!("  {call:<10} {what:<7} {when:<5} {sites:>5} {reached:>7} |");
        for (_, ended) in ENDS {
            let _ = write!(line, " {:>7}", ends.get(&ended).copied().unwrap_or(0));
        }
        toolchain::announce(&line);
    }
}

#[test]
fn each_error_at_each_call() {
    let begin = Instant::now();
    let seed = number_from("WALREC_SEED", 20_240_229);
    let sample = sample_from("WALREC_FAULTS", SAMPLE);
    let stand = Stand::new("errors");
    let sites = stand.sites(false);
    let mut cases = Vec::new();
    for site in sites.keys() {
        for what in errors_of(&site.call) {
            for when in [When::Once, When::Ever] {
                cases.push(Case { site: site.clone(), when, what: (*what).into() });
            }
        }
    }
    let mut random = Random(seed);
    let total = cases.len() as u64;
    cases.retain(|_| random.below(total) < sample);
    let cases = Case::narrow(cases);
    let mut rows: BTreeMap<_, Row> = BTreeMap::new();
    let (mut failures, mut missed) = (Vec::new(), Vec::new());
    stand.play_all(&cases, |case, played| {
        let row = rows.entry((case.site.call.clone(), case.what.clone(), case.when)).or_default();
        row.0 += 1;
        let Some(played) = played else {
            missed.push(case.clone());
            return;
        };
        row.1 += 1;
        match judge(case, &played) {
            Ok(ended) => *row.2.entry(ended).or_default() += 1,
            Err(why) => failures.push(format!("WALREC_CASE={:?}\n{why}", case.to_string())),
        }
    });
    print(&rows);
    let steady = |case: &&Case| sites.get(&case.site).is_some_and(|&lives| is_steady(lives));
    toolchain::announce(&format!(
        "FIGURE faults: seed {seed}, {} sites, {} of {total} cases (site x error x once or ever), {} reached, {} not since only some lives \
         come by; {} failed, {} s",
        sites.len(),
        cases.len(),
        cases.len() - missed.len(),
        missed.len(),
        failures.len(),
        begin.elapsed().as_secs()
    ));
    assert!(failures.is_empty(), "{} cases failed:\n{}", failures.len(), failures.join("\n"));
    let steady = missed.iter().find(steady);
    assert!(steady.is_none(), "not reached, though each recorded life came by it: {}", steady.unwrap());
}
