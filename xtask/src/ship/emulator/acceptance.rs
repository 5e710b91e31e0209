//! The checks of an emulated board: scripts of this repository that its agent runs.
//!
//! `NN-NAME.sh` has a head of comments: `# proves:` says what, `# limit:` how many seconds it has, `# needs:`
//! which checks must have passed, `# asks:` which files the bundle must have for it, `# sends:` which files it finds
//! in its folder on the board. `lib.sh` stands before each. A script prints `evidence: …` lines; its exit status is
//! its verdict:
//!
//! | status | |
//! |---|---|
//! | 0 | passed |
//! | 75 | go on with the next stage, after what the last line says: `next: reboot` or `next: cut` |
//! | 77 | not run, for the reason on the line `not run: …` |
//! | other | failed |
//!
//! Knows how checks are run, not what they are about.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use fs_err as fs;

use super::machine::Machine;
use crate::data::text::{Text, unknown};
use crate::data::types::{Invalid, Name, RelPath};
use crate::error::{Context, Failure, Kind, Result, bail, is_interrupt};
use crate::run::process::quote;
use crate::ship::board::agent::{Agent, Down, Hung};

/// Where checks find what is sent to them. The board's temporary files.
const FOLDER: &str = "/data/local/tmp/acceptance";
/// The seconds that a check has if it does not say otherwise.
const LIMIT: u64 = 300;
/// No check has more stages.
const STAGES: u32 = 9;
const PASSED: i32 = 0;
const GO_ON: i32 = 75;
const NOT_RUN: i32 = 77;
/// What is kept of a failed check's output.
const TAIL: usize = 30;

/// One check.
#[derive(Debug, Clone)]
pub struct Check {
    pub name: Name,
    pub proves: String,
    pub limit: Duration,
    /// Checks that must have passed.
    pub needs: Vec<String>,
    /// Files of the bundle without which it is not run.
    pub asks: Vec<RelPath>,
    /// What is sent to the board for it.
    pub sends: Vec<String>,
    /// Of a break, the check that must fail.
    pub caught_by: Option<String>,
    script: String,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    Passed,
    Failed,
    NotRun,
}

/// A check's outcome.
#[derive(Debug, Clone)]
pub struct Outcome {
    pub name: String,
    pub proves: String,
    pub verdict: Verdict,
    pub seconds: f64,
    /// What the check saw; why it failed or was not run.
    pub evidence: Vec<String>,
    /// The end of a failed check's output.
    pub output: String,
}

impl Check {
    /// Reads a check; its name is the file's without the number and the ending.
    fn parse(file: &str, text: &Text) -> Result<Self> {
        let stem = file.strip_suffix(".sh").and_then(|stem| stem.split_once('-')).map(|(_, name)| name);
        let name = stem.and_then(|stem| stem.parse::<Name>().ok());
        let name = name.ok_or_else(|| text.wrong(0..0, "a check is called NN-NAME.sh"))?;
        Self::named(name, text)
    }

    fn named(name: Name, text: &Text) -> Result<Self> {
        let wrong = |what: String| text.wrong(0..0, what);
        let head: BTreeMap<&str, &str> = text
            .text
            .lines()
            .take_while(|line| line.starts_with('#'))
            .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once(": "))
            .collect();
        let known = ["proves", "limit", "needs", "asks", "sends", "caught-by"];
        if let Some(key) = head.keys().find(|key| !key.contains(' ') && !known.contains(key)) {
            return Err(wrong(unknown("a line of a check's head", key, known)).into());
        }
        let words = |key| head.get(key).map(|value: &&str| value.split_whitespace().map(str::to_owned).collect());
        let limit = match head.get("limit") {
            None => LIMIT,
            Some(limit) => limit.trim().parse().map_err(|_| wrong(format!("`{limit}` is no number of seconds")))?,
        };
        let asks: Vec<String> = words("asks").unwrap_or_default();
        let asks = asks.iter().map(|path| path.parse().map_err(|invalid: Invalid| wrong(invalid.0).into()));
        let proves = head.get("proves").ok_or_else(|| wrong("`# proves: …` is missing in the head".to_owned()))?;
        Ok(Self {
            name,
            proves: proves.trim().to_owned(),
            limit: Duration::from_secs(limit),
            needs: words("needs").unwrap_or_default(),
            asks: asks.collect::<Result<_>>()?,
            sends: words("sends").unwrap_or_default(),
            caught_by: head.get("caught-by").map(|check| check.trim().to_owned()),
            script: text.text.clone(),
        })
    }
}

/// All checks of a folder, in the order of their numbers, and the text that stands before each.
pub struct Checks {
    pub all: Vec<Check>,
    /// Scripts that break something on the board, each with the check that must find it.
    pub breaks: Vec<Check>,
    library: String,
}

impl Checks {
    /// Reads `folder` of the checkout at `root`.
    pub fn read(root: &Path, folder: &RelPath) -> Result<Self> {
        let dir = root.join(folder);
        let mut files: Vec<String> = Vec::new();
        for entry in fs::read_dir(&dir)? {
            files.push(entry?.file_name().to_string_lossy().into_owned());
        }
        files.sort();
        let mut all: Vec<Check> = Vec::new();
        for file in files.iter().filter(|file| !["lib.sh", "breaks"].contains(&file.as_str()) && !file.starts_with('.'))
        {
            let text = Text::new(format!("{folder}/{file}"), fs::read_to_string(dir.join(file))?);
            let check = Check::parse(file, &text)?;
            let before = |name: &&String| !all.iter().any(|other| other.name.as_str() == name.as_str());
            if let Some(name) = check.needs.iter().find(before) {
                let known: Vec<&str> = all.iter().map(|other| other.name.as_str()).collect();
                return Err(text.wrong(0..0, unknown("a check before this one", name, known)).into());
            }
            all.push(check);
        }
        let breaks = read_breaks(&dir.join("breaks"), &format!("{folder}/breaks"), &all)?;
        Ok(Self { all, breaks, library: fs::read_to_string(dir.join("lib.sh"))? })
    }

    /// The checks with these names and all that they need, in order.
    pub fn choose(&self, names: &[String]) -> Result<Vec<&Check>> {
        let mut chosen: Vec<&str> = Vec::new();
        let mut open: Vec<&str> = names.iter().map(String::as_str).collect();
        while let Some(name) = open.pop() {
            let known = self.all.iter().map(|check| check.name.as_str()).collect::<Vec<_>>();
            let check = self.all.iter().find(|check| check.name.as_str() == name);
            let check = check.ok_or_else(|| Failure::new(Kind::Data, unknown("a check", name, known)))?;
            if !chosen.contains(&name) {
                chosen.push(name);
                open.extend(check.needs.iter().map(String::as_str));
            }
        }
        Ok(self.all.iter().filter(|check| chosen.contains(&check.name.as_str())).collect())
    }
}

/// Reads `breaks/NAME.sh`; none if there is no such folder.
fn read_breaks(dir: &Path, shown: &str, checks: &[Check]) -> Result<Vec<Check>> {
    let mut breaks = Vec::new();
    if !dir.is_dir() {
        return Ok(breaks);
    }
    for entry in fs::read_dir(dir)? {
        let file = entry?.file_name().to_string_lossy().into_owned();
        let text = Text::new(format!("{shown}/{file}"), fs::read_to_string(dir.join(&file))?);
        let name = file.strip_suffix(".sh").and_then(|stem| stem.parse().ok());
        let one = Check::named(name.ok_or_else(|| text.wrong(0..0, "a break is called NAME.sh"))?, &text)?;
        let caught_by = one.caught_by.as_deref().unwrap_or_default();
        if !checks.iter().any(|check| check.name.as_str() == caught_by) {
            let known: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
            return Err(text.wrong(0..0, unknown("a check, for `# caught-by: …`", caught_by, known)).into());
        }
        breaks.push(one);
    }
    breaks.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(breaks)
}

/// A board on which checks are run, and what they are given.
pub struct Bench<'a> {
    pub checks: &'a Checks,
    /// What can be sent, by the name that it has on the board.
    pub files: BTreeMap<String, PathBuf>,
    /// What the bundle lacks of what checks ask for.
    pub missing: BTreeSet<RelPath>,
    sent: Vec<String>,
    /// What the scripts know besides, lines of shell assignments.
    facts: String,
    /// The command that shuts the board down in order.
    halt: String,
}

/// The board under test.
pub enum Board<'a> {
    /// One that we switch on and off.
    Ours(&'a mut Machine),
    /// One that somebody else runs.
    Attached(&'a mut Agent),
}

impl Board<'_> {
    fn agent(&mut self) -> Result<&mut Agent> {
        match self {
            Board::Ours(machine) => machine.agent(),
            Board::Attached(agent) => Ok(agent),
        }
    }
}

impl<'a> Bench<'a> {
    /// `facts` are variables that every script has.
    pub fn new(
        checks: &'a Checks,
        files: BTreeMap<String, PathBuf>,
        missing: BTreeSet<RelPath>,
        facts: &BTreeMap<&str, String>,
        halt: &str,
    ) -> Self {
        let facts = facts.iter().map(|(name, value)| format!("{name}={}\n", quote(value))).collect();
        Self { checks, files, missing, sent: Vec::new(), facts, halt: halt.to_owned() }
    }

    /// Runs one check. An error only if no other can be run after it.
    pub fn run(&mut self, check: &Check, board: &mut Board<'_>, before: &[Outcome]) -> Result<Outcome> {
        let started = Instant::now();
        let mut outcome = Outcome {
            name: check.name.to_string(),
            proves: check.proves.clone(),
            verdict: Verdict::NotRun,
            seconds: 0.0,
            evidence: Vec::new(),
            output: String::new(),
        };
        if let Some(path) = check.asks.iter().find(|path| self.missing.contains(*path)) {
            outcome.evidence.push(format!("{} is not in this bundle", path.file_name()));
            return Ok(outcome);
        }
        let passed =
            |need: &&String| before.iter().any(|outcome| outcome.name == **need && outcome.verdict == Verdict::Passed);
        // On somebody else's board what is needed may have been done long ago.
        let lacks = check.needs.iter().find(|need| !passed(need)).filter(|_| matches!(board, Board::Ours(_)));
        if let Some(need) = lacks {
            outcome.evidence.push(format!("needs {need}, which did not pass"));
            return Ok(outcome);
        }
        let ran = self.stages(check, board, &mut outcome);
        outcome.seconds = started.elapsed().as_secs_f64();
        match ran {
            Ok(()) => {}
            Err(error) if is_interrupt(&error) => return Err(error),
            Err(error) => self.broke_down(board, &mut outcome, &error),
        }
        Ok(outcome)
    }

    /// Breaks something, runs the check that must find it, and mends it again; passed if the check failed.
    pub fn run_break(&mut self, broken: &Check, board: &mut Board<'_>, before: &[Outcome]) -> Result<Outcome> {
        let started = Instant::now();
        let name = broken.caught_by.as_deref().unwrap_or_default();
        let checks = self.checks;
        let check = checks.all.iter().find(|check| check.name.as_str() == name).context("a break's check is there")?;
        let mut outcome = Outcome {
            name: broken.name.to_string(),
            proves: broken.proves.clone(),
            verdict: Verdict::Failed,
            seconds: 0.0,
            evidence: Vec::new(),
            output: String::new(),
        };
        let (status, output) = self.script(broken, "break", board)?;
        if status == PASSED {
            let found = self.run(check, board, before)?;
            outcome.evidence.push(format!("{name} {}: {}", found.verdict.as_str(), found.evidence.join("; ")));
            if found.verdict == Verdict::Failed {
                outcome.verdict = Verdict::Passed;
            }
        } else {
            outcome.evidence.push("it could not be broken".to_owned());
            outcome.output = output;
        }
        let (status, output) = self.script(broken, "undo", board)?;
        if status != PASSED {
            outcome.verdict = Verdict::Failed;
            outcome.evidence.push("it could not be mended".to_owned());
            outcome.output = output;
        }
        outcome.seconds = started.elapsed().as_secs_f64();
        Ok(outcome)
    }

    /// Runs a script once; gives its exit status and output.
    fn script(&self, check: &Check, stage: &str, board: &mut Board<'_>) -> Result<(i32, String)> {
        let head = format!("STAGE={stage}\nCHECK={}\nFOLDER={FOLDER}\n{}", quote(check.name.as_str()), self.facts);
        let script = format!("{head}{}\n{}", self.checks.library, check.script);
        let (status, output) = board.agent()?.run(&script, check.limit)?;
        Ok((status, String::from_utf8_lossy(&output).into_owned()))
    }

    /// A board that hangs or went down has failed the check; it is started anew for the next.
    fn broke_down(&mut self, board: &mut Board<'_>, outcome: &mut Outcome, error: &anyhow::Error) {
        outcome.verdict = Verdict::Failed;
        outcome.evidence.push(format!("{error:#}"));
        if let Board::Ours(machine) = board {
            let gone = error.downcast_ref::<Hung>().is_some() || error.downcast_ref::<Down>().is_some();
            outcome.output = format!("the screen showed last:\n{}", machine.screen());
            if gone {
                machine.cut();
            }
        }
    }

    fn stages(&mut self, check: &Check, board: &mut Board<'_>, outcome: &mut Outcome) -> Result<()> {
        if let Board::Ours(machine) = board
            && !machine.is_running()
        {
            machine.start()?;
        }
        for name in &check.sends {
            if !self.send(name, board)? {
                outcome.evidence.push(format!("there is no {name} to send"));
                return Ok(());
            }
        }
        for stage in 1..=STAGES {
            let (status, output) = self.script(check, &stage.to_string(), board)?;
            outcome.evidence.extend(marked(&output, "evidence: "));
            outcome.verdict = match status {
                PASSED => Verdict::Passed,
                NOT_RUN => {
                    outcome.evidence.extend(marked(&output, "not run: "));
                    Verdict::NotRun
                }
                GO_ON => match self.between(&output, board)? {
                    true => continue,
                    false => {
                        outcome.evidence.push("this board cannot be switched off from here".to_owned());
                        Verdict::NotRun
                    }
                },
                status => {
                    let why =
                        if status == 137 { "it did not end in time".to_owned() } else { format!("status {status}") };
                    let told = marked(&output, "failed: ");
                    outcome.evidence.extend(if told.is_empty() { vec![why] } else { told });
                    outcome.output = crate::run::process::tail(&output, TAIL);
                    Verdict::Failed
                }
            };
            return Ok(());
        }
        bail!("a check has {STAGES} stages at most")
    }

    /// Does what a check asks for between two stages; false if it cannot be done here.
    fn between(&mut self, output: &str, board: &mut Board<'_>) -> Result<bool> {
        let Board::Ours(machine) = board else { return Ok(false) };
        match marked(output, "next: ").last().map(String::as_str) {
            Some("reboot") => drop(machine.reboot(&self.halt)?),
            Some("cut") => {
                machine.cut();
                machine.start()?;
            }
            other => bail!("the check asks for {other:?}; known are `reboot` and `cut`"),
        }
        Ok(true)
    }

    /// False if there is no such file.
    fn send(&mut self, name: &str, board: &mut Board<'_>) -> Result<bool> {
        let Some(local) = self.files.get(name) else { return Ok(false) };
        if self.sent.iter().any(|sent| sent == name) {
            return Ok(true);
        }
        let agent = board.agent()?;
        agent.run(&format!("mkdir -p {FOLDER}"), Duration::from_secs(10))?;
        send(agent, local, &format!("{FOLDER}/{name}"))?;
        self.sent.push(name.to_owned());
        Ok(true)
    }
}

fn send(agent: &mut Agent, local: &Path, remote: &str) -> Result<()> {
    agent.put(local, remote, &mut |_| ()).with_context(|| format!("send {}", local.display()))
}

/// What stands behind `mark` on the lines that begin with it.
fn marked(output: &str, mark: &str) -> Vec<String> {
    output.lines().filter_map(|line| line.strip_prefix(mark)).map(|line| line.trim().to_owned()).collect()
}
