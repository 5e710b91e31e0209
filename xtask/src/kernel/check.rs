//! Holds a configuration against the list of what is needed: pure, a library for whoever has a configuration.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::config::{ConfigKind, KernelConfig, State};
use crate::data::kernel::{KernelVersion, Need, Options, TargetKernel, Wanted, When};
use crate::data::target::Target;

/// What of the board matters for the verdict.
#[derive(Debug, Clone, Copy)]
pub struct Board {
    /// Whether something on it loads modules.
    pub modules: bool,
    /// Whether 32-bit programs run on its 64-bit kernel.
    pub compat: bool,
}

impl Board {
    /// The board of a target; a machine like any other if there is none.
    pub fn of(target: Option<&Target>) -> Self {
        let kernel = target.and_then(|target| target.kernel.as_ref());
        let compat = target.is_some_and(|target| {
            target.arch.bits() == 64 && target.recipes.values().any(|selection| selection.arch.bits() == 32)
        });
        Self { modules: kernel.is_none_or(|kernel: &TargetKernel| kernel.modules), compat }
    }
}

/// The answer.
#[derive(Debug, Clone)]
pub struct Report {
    pub version: KernelVersion,
    pub kind: ConfigKind,
    pub board: Board,
    pub groups: Vec<GroupReport>,
    pub warnings: Vec<Warning>,
}

/// The options of one group.
#[derive(Debug, Clone)]
pub struct GroupReport {
    pub title: String,
    pub findings: Vec<Finding>,
}

/// What was found of one option.
#[derive(Debug, Clone)]
pub struct Finding {
    pub name: String,
    pub need: Need,
    pub verdict: Verdict,
    pub without: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    On,
    Module,
    Missing,
    /// The file is a defconfig that leaves the option out, and it may be on by default.
    Unknown,
}

impl Verdict {
    pub fn as_str(self) -> &'static str {
        match self {
            Verdict::On => "enabled",
            Verdict::Module => "module",
            Verdict::Missing => "missing",
            Verdict::Unknown => "not mentioned",
        }
    }
}

/// A line that is there and should not be, or that does nothing.
#[derive(Debug, Clone)]
pub struct Warning {
    pub name: String,
    pub text: String,
}

/// Holds `config` against `options`, for a kernel of this version on this board.
pub fn check(options: &Options, config: &KernelConfig, version: KernelVersion, board: Board) -> Report {
    let groups = options.groups.iter().map(|group| {
        let wanted = group.options.iter().filter(|wanted| is_wanted(wanted, config, version, board));
        let findings = wanted.map(|wanted| Finding {
            name: wanted.name.to_string(),
            need: wanted.need.unwrap_or(group.need),
            verdict: verdict(wanted, config),
            without: wanted.without.clone(),
        });
        GroupReport { title: group.title.clone(), findings: findings.collect() }
    });
    let groups = groups.filter(|group| !group.findings.is_empty()).collect();
    Report { version, kind: config.kind, board, groups, warnings: warnings(options, config, version) }
}

/// Whether the option is of interest here at all.
pub fn is_wanted(wanted: &Wanted, config: &KernelConfig, version: KernelVersion, board: Board) -> bool {
    let on = |name: &str| matches!(config.state(name), State::On | State::Module);
    wanted.is_in(version)
        && wanted.when.is_none_or(|When::Compat| board.compat)
        && wanted.unless.as_ref().is_none_or(|other| !on(other.as_str()))
        && (!wanted.quiet || on(wanted.name.as_str()))
}

fn verdict(wanted: &Wanted, config: &KernelConfig) -> Verdict {
    match config.state(wanted.name.as_str()) {
        State::On => Verdict::On,
        State::Module => Verdict::Module,
        State::Unsaid if wanted.implicit => Verdict::Unknown,
        State::Off | State::Unsaid => Verdict::Missing,
    }
}

fn warnings(options: &Options, config: &KernelConfig, version: KernelVersion) -> Vec<Warning> {
    let set = |name: &str| matches!(config.state(name), State::On | State::Module);
    let traps = options.traps.iter().filter(|trap| trap.is_in(version) && set(trap.name.as_str()));
    let traps = traps.map(|trap| Warning { name: trap.name.to_string(), text: trap.text.clone() });
    let gone = options.gone.iter().filter(|gone| gone.is_in(version) && set(gone.name.as_str()));
    let gone = gone.map(|gone| Warning {
        name: gone.name.to_string(),
        text: format!("Linux {version} has no such option, the line does nothing: {}", gone.text),
    });
    traps.chain(gone).collect()
}

impl Report {
    /// The findings of all groups.
    pub fn findings(&self) -> impl Iterator<Item = &Finding> {
        self.groups.iter().flat_map(|group| &group.findings)
    }

    /// The options without which containers do not work, and that are off.
    pub fn missing(&self) -> Vec<&Finding> {
        self.required(Verdict::Missing)
    }

    /// Required options of which a defconfig tells nothing.
    pub fn unknown(&self) -> Vec<&Finding> {
        self.required(Verdict::Unknown)
    }

    fn required(&self, verdict: Verdict) -> Vec<&Finding> {
        self.findings().filter(|finding| finding.need == Need::Required && finding.verdict == verdict).collect()
    }

    /// True if the option is a module that nothing on the board loads.
    fn never_loaded(&self, finding: &Finding) -> bool {
        finding.verdict == Verdict::Module && !self.board.modules
    }

    /// One sentence: can containers run with this?
    pub fn summary(&self) -> String {
        let names = |list: &[&Finding]| list.iter().map(|finding| finding.name.as_str()).collect::<Vec<_>>().join(" ");
        let missing = self.missing();
        match missing.len() {
            0 => match self.unknown().len() {
                0 => "nothing that is required is missing".to_owned(),
                count => format!("nothing that is required is known to be missing; of {count} the file says nothing"),
            },
            1 => format!("1 required option is missing: {}", names(&missing)),
            count => format!("{count} required options are missing: {}", names(&missing)),
        }
    }

    /// The report as people read it.
    pub fn text(&self) -> String {
        let mut text = String::new();
        for group in &self.groups {
            let _ = writeln!(text, "{}:", group.title);
            for finding in &group.findings {
                let _ = writeln!(text, "{}", self.line(finding));
            }
            text.push('\n');
        }
        for warning in &self.warnings {
            let _ = writeln!(text, "warning  CONFIG_{}: {}", warning.name, warning.text);
        }
        if !self.warnings.is_empty() {
            text.push('\n');
        }
        if self.findings().any(|finding| finding.verdict == Verdict::Unknown) {
            text.push_str(
                "not mentioned: a defconfig leaves out what is default. `make olddefconfig` writes the full .config.\n\n",
            );
        }
        if self.findings().any(|finding| self.never_loaded(finding)) {
            text.push_str("module: this target's board loads no modules. Build it in (=y), or load it yourself.\n\n");
        }
        text.push_str(&self.summary());
        text
    }

    fn line(&self, finding: &Finding) -> String {
        let need = match finding.need {
            Need::Required => "required",
            Need::Recommended => "recommended",
            Need::Optional => "optional",
        };
        let name = format!("CONFIG_{}", finding.name);
        let verdict = finding.verdict.as_str();
        match finding.verdict {
            Verdict::On => format!("  ok       {name}"),
            Verdict::Module if self.never_loaded(finding) => format!("  module   {name}  (nothing loads it)"),
            Verdict::Module => format!("  module   {name}"),
            Verdict::Missing if finding.need == Need::Required => {
                format!("  MISSING  {name}  {need}: {}", finding.without)
            }
            Verdict::Missing => format!("  {verdict}  {name}  {need}: {}", finding.without),
            Verdict::Unknown => format!("  ?        {name}  {need}, {verdict}. Without it: {}", finding.without),
        }
    }

    /// The report as one event.
    pub fn event(&self) -> Value {
        let options = self.groups.iter().flat_map(|group| {
            group.findings.iter().map(|finding| {
                json!({"option": finding.name, "group": group.title, "need": finding.need,
                       "verdict": finding.verdict.as_str(), "without": finding.without})
            })
        });
        let warnings = self.warnings.iter().map(|warning| json!({"option": warning.name, "text": warning.text}));
        json!({"event": "result", "version": self.version.to_string(),
               "kind": if self.kind == ConfigKind::Full { "full" } else { "defconfig" },
               "options": options.collect::<Vec<_>>(), "warnings": warnings.collect::<Vec<_>>(),
               "missing": self.missing().iter().map(|finding| &finding.name).collect::<Vec<_>>(),
               "unknown": self.unknown().iter().map(|finding| &finding.name).collect::<Vec<_>>()})
    }
}
