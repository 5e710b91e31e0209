//! The command line: every flag, and from there to the command.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand, ValueEnum};

use crate::commands;
use crate::data::board::Via;
use crate::data::kernel::{KernelVersion, Symbol};
use crate::data::project::Project;
use crate::data::types::{Arch, Version};
use crate::error::{self, Result};
use crate::interrupt;
use crate::plan::{Changes, Override};
use crate::run::sandbox;
use crate::ship::board::device::Key;
use crate::ship::secrets::SecretFile;
use crate::ui::Ui;

/// Builds the static userland that turns an OpenHarmony board into a Docker + KubeEdge node:
/// from pinned sources, with pinned tools, the same bytes every time.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, max_term_width = 100)]
#[command(after_help = "Start here:
  cargo xtask doctor                                what this machine has and lacks
  cargo xtask bundle --target dayu200               everything for the board, as one tarball
  cargo xtask recipe iptables --arch armhf          one static program

Exit status: 0 done, 1 other failure, 2 wrong usage, 3 a build failed, 4 wrong data file,
5 a source could not be had, 6 a check of the result failed, 7 this machine lacks something,
8 a board could not be reached or refused, 130 interrupted.")]
pub struct Cli {
    #[command(subcommand)]
    pub command: Option<Command>,
    #[command(flatten)]
    pub global: Global,
}

/// What every command takes.
#[derive(Debug, Args)]
pub struct Global {
    /// Print JSON events, one a line, on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// Show the build's log as it grows
    #[arg(long, short, global = true)]
    pub verbose: bool,
    /// The checkout to work in [default: the one around this folder]
    #[arg(long, global = true, value_name = "DIR", hide = true)]
    pub project: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Build everything for a board and pack it: dist/TARGET/slipway-TARGET-VERSION.tar.gz
    Bundle(Bundle),
    /// Build one program: dist/recipes/NAME-VERSION-ARCH/
    Recipe(Recipe),
    /// Get every source and tool that a target needs; --offline builds work after it
    Fetch(Fetch),
    /// Write every source and tool into a folder that serves as --mirror on a closed network
    Mirror(Mirror),
    /// Renew a program's lock: the revisions of its Debian source and libraries that the archive has now
    Update(Update),
    /// Print what would be done, step by step, without doing it
    Plan(Plan),
    /// Print what can be set about a board, as a file to edit and pass to --settings
    Settings(Settings),
    /// List recipes, targets and toolchains
    List,
    /// Build a second time under other circumstances and compare every file; or compare with --against FILE
    Repro(Repro),
    /// Tell which input of a program changed since it was last built
    Why(Why),
    /// Boot a bundle on an emulated board, and check there what it promises
    Emulate(Emulate),
    /// Open a program's patched source to edit; with --save, turn the edits into a patch file
    Patch(Patch),
    /// Tell whether a kernel's configuration is good for containers, which lines it lacks, and why one has no effect
    Kernel(Kernel),
    /// Change an OpenHarmony source tree so that its image can run containers
    Openharmony(Openharmony),
    /// Send a target's bundle to a board and install it there
    Push(Push),
    /// Start, stop, look at and undo what is installed on a board
    Board(Board),
    /// Tell what this machine has and lacks, and the line that mends it
    Doctor,
    /// Remove build results and dist/; with --all also sources and tools
    Clean(Clean),
}

#[derive(Debug, Args)]
pub struct Bundle {
    #[command(flatten)]
    pub target: TargetArgs,
    #[command(flatten)]
    pub build: BuildArgs,
    /// Write a bundle even if sources are missing; its name and manifest say so
    #[arg(long)]
    pub partial: bool,
    /// Write what was built into the project's record, dist/TARGET.sha256: `repro --against` compares with it
    #[arg(long, conflicts_with_all = ["partial", "set", "settings", "toolchain"])]
    pub record: bool,
}

#[derive(Debug, Args)]
pub struct Recipe {
    /// The program: a name of `cargo xtask list`
    pub name: String,
    #[command(flatten)]
    pub which: Which,
    #[command(flatten)]
    pub build: BuildArgs,
}

/// Which variant of a program.
#[derive(Debug, Args)]
pub struct Which {
    /// The architecture: aarch64 or armhf [default: aarch64]
    #[arg(long)]
    pub arch: Option<Arch>,
    /// The version [default: the newest that has a recipe]
    #[arg(long)]
    pub version: Option<Version>,
}

#[derive(Debug, Args)]
pub struct Fetch {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Also what the emulated board is made of: a kernel, a shell
    #[arg(long)]
    pub emulator: bool,
    #[command(flatten)]
    pub places: Places,
    /// The C toolchain [default: the one that says so in toolchains/]
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
}

#[derive(Debug, Args)]
pub struct Mirror {
    /// The folder to write; what it has already is kept
    pub dir: PathBuf,
    #[command(flatten)]
    pub fetch: Fetch,
}

#[derive(Debug, Args)]
pub struct Update {
    /// The program: a name of `cargo xtask list`
    pub name: String,
    /// The version [default: the newest that has a recipe]
    #[arg(long)]
    pub version: Option<Version>,
    /// Write nothing; exit status 6 if the lock is not what the archive has now
    #[arg(long)]
    pub check: bool,
    /// Believe lists that are not signed by Debian, as of a mirror of your own
    #[arg(long)]
    pub unsigned: bool,
}

#[derive(Debug, Args)]
pub struct Plan {
    /// One program
    #[arg(required_unless_present = "target")]
    pub name: Option<String>,
    #[command(flatten)]
    pub which: Which,
    /// All programs of a target
    #[arg(long, conflicts_with_all = ["name", "arch", "version"])]
    pub target: Option<String>,
    /// Change one thing of the target: VARIABLE=VALUE, RECIPE.version=V, RECIPE.arch=A, RECIPE.toolchain=T
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "target")]
    pub set: Vec<Override>,
    /// The board's variables, as `cargo xtask settings` writes them; --set comes before it
    #[arg(long, value_name = "FILE.toml", requires = "target")]
    pub settings: Option<PathBuf>,
    /// The C toolchain
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
}

impl Plan {
    pub fn changes(&self, project: &Project) -> Result<Changes> {
        commands::changes(project, &self.set, self.settings.as_deref())
    }
}

#[derive(Debug, Args)]
pub struct Settings {
    #[command(flatten)]
    pub target: TargetArgs,
    /// Write the files that are made of these settings into this folder instead, as the bundle has them
    #[arg(long, value_name = "DIR")]
    pub files: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub struct Repro {
    /// Compare only these programs of the target, file by file, without packing
    #[arg(value_name = "RECIPE", conflicts_with = "against")]
    pub recipes: Vec<String>,
    /// The board: a name of `cargo xtask list`
    #[arg(long)]
    pub target: String,
    /// Change one thing for this run: VARIABLE=VALUE, RECIPE.version=V, RECIPE.arch=A, RECIPE.toolchain=T
    #[arg(long = "set", value_name = "NAME=VALUE", value_parser = override_text)]
    pub set: Vec<String>,
    /// The board's variables, as `cargo xtask settings` writes them; --set comes before it
    #[arg(long, value_name = "FILE.toml")]
    pub settings: Option<PathBuf>,
    /// Do not build twice: compare what this checkout builds with a published bundle, or with a record of its hashes
    #[arg(long, value_name = "FILE.tar.gz|FILE.sha256")]
    pub against: Option<PathBuf>,
    #[command(flatten)]
    pub build: BuildArgs,
    /// Build the programs and compare nothing: what the second build runs
    #[arg(long, hide = true, requires = "recipes")]
    pub build_only: bool,
}

impl Repro {
    /// The target with its changes, as `bundle` takes it.
    pub fn target(&self) -> TargetArgs {
        let set = self.set.iter().filter_map(|set| set.parse().ok()).collect();
        TargetArgs { target: self.target.clone(), set, settings: self.settings.clone() }
    }
}

/// Checks an override and keeps its text, which is handed on to the second build.
fn override_text(text: &str) -> Result<String, String> {
    text.parse::<Override>().map(|_| text.to_owned()).map_err(|error| error.to_string())
}

#[derive(Debug, Args)]
pub struct Why {
    /// The program: a name of `cargo xtask list`
    pub name: String,
    #[command(flatten)]
    pub which: Which,
    /// As this target builds it
    #[arg(long, conflicts_with_all = ["arch", "version"])]
    pub target: Option<String>,
    /// Change one thing of the target: VARIABLE=VALUE, RECIPE.version=V, RECIPE.arch=A, RECIPE.toolchain=T
    #[arg(long = "set", value_name = "NAME=VALUE", requires = "target")]
    pub set: Vec<Override>,
    /// The board's variables, as `cargo xtask settings` writes them; --set comes before it
    #[arg(long, value_name = "FILE.toml", requires = "target")]
    pub settings: Option<PathBuf>,
    /// The C toolchain
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
    #[command(flatten)]
    pub cage: Cage,
}

impl Why {
    pub fn changes(&self, project: &Project) -> Result<Changes> {
        commands::changes(project, &self.set, self.settings.as_deref())
    }
}

#[derive(Debug, Args)]
pub struct Emulate {
    /// The board: a name of `cargo xtask list`
    #[arg(long)]
    pub target: String,
    /// The bundle [default: the one in dist/TARGET/]
    #[arg(long, value_name = "FILE.tar.gz")]
    pub bundle: Option<PathBuf>,
    /// Run these checks, and those that they need
    #[arg(long, value_name = "CHECK", num_args = 1.., conflicts_with = "short")]
    pub only: Vec<String>,
    /// Run the short list instead of all checks
    #[arg(long)]
    pub short: bool,
    /// Break something on the board (all that is known, or NAME) and see that a check finds it
    #[arg(long = "break", value_name = "NAME", num_args = 0.., conflicts_with_all = ["only", "short", "shell"])]
    pub breaks: Option<Vec<String>>,
    /// Tell which checks there are, and run none
    #[arg(long)]
    pub list: bool,
    /// Run no checks: hand the board's console to this terminal
    #[arg(long, conflicts_with_all = ["only", "short", "list"])]
    pub shell: bool,
    /// Leave the board running after the checks, until Ctrl-C
    #[arg(long, conflicts_with = "shell")]
    pub keep: bool,
    /// Run the checks of --only, or --break, on the board that runs already
    #[arg(long, conflicts_with_all = ["shell", "keep"])]
    pub attach: bool,
    /// The board's memory in MiB
    #[arg(long, value_name = "MIB", value_parser = clap::value_parser!(u32).range(256..))]
    pub memory: Option<u32>,
    /// Pin the kernels that Debian's archive has now, in emulators/, and boot nothing
    #[arg(long, conflicts_with_all = ["only", "short", "list", "shell", "keep", "attach"])]
    pub renew_kernel: bool,
    /// The kernel's series [default: the first that can be had]
    #[arg(long, value_name = "SERIES")]
    pub kernel: Option<String>,
    #[command(flatten)]
    pub cage: Cage,
    #[command(flatten)]
    pub places: Places,
}

#[derive(Debug, Args)]
pub struct Patch {
    /// The program: a name of `cargo xtask list`
    pub name: String,
    #[command(flatten)]
    pub which: Which,
    /// Turn the edits into patches/NAME/VERSION/0001-WHAT.patch, numbered after the last
    #[arg(long, value_name = "WHAT", requires = "why")]
    pub save: Option<String>,
    /// The patch's header: why it is needed, where it comes from
    #[arg(long, value_name = "TEXT", requires = "save")]
    pub why: Option<String>,
    /// Open the tree anew and lose what was edited
    #[arg(long, conflicts_with = "save")]
    pub discard: bool,
    #[command(flatten)]
    pub places: Places,
}

#[derive(Debug, Args)]
pub struct Kernel {
    #[command(subcommand)]
    pub command: KernelCommand,
}

#[derive(Debug, Subcommand)]
pub enum KernelCommand {
    /// Report what Docker and KubeEdge need of a configuration; exit status 6 if something required is missing
    Check(KernelCheck),
    /// Print the lines to append to a configuration
    Fragment(KernelFragment),
    /// Tell what keeps an option off, and the fewest lines that turn it on
    Explain(KernelExplain),
}

#[derive(Debug, Args)]
pub struct KernelCheck {
    /// A .config, a defconfig, /proc/config.gz, or a kernel image with its configuration inside; `-` reads standard input
    #[arg(required_unless_present = "device")]
    pub file: Option<PathBuf>,
    /// Ask the board for its /proc/config.gz; with ID that one of several, as `push` takes it
    #[arg(long, value_name = "ID", num_args = 0..=1, conflicts_with = "file", requires = "target")]
    pub device: Option<Option<Key>>,
    /// The way to the board: hdc, adb or ssh [default: those of the target, whichever finds it]
    #[arg(long, value_name = "WAY", requires = "device")]
    pub via: Option<Via>,
    /// The board: a name of `cargo xtask list`
    #[arg(long)]
    pub target: Option<String>,
    /// The kernel's version [default: what the file says, else the target's]
    #[arg(long, value_name = "5.10")]
    pub kernel_version: Option<KernelVersion>,
}

#[derive(Debug, Args)]
pub struct KernelFragment {
    /// The board: a name of `cargo xtask list`
    #[arg(long)]
    pub target: String,
    /// Print only what this configuration lacks
    #[arg(long = "for", value_name = "FILE")]
    pub file: Option<PathBuf>,
    /// The kernel's version [default: what the file says, else the target's]
    #[arg(long, value_name = "5.10")]
    pub kernel_version: Option<KernelVersion>,
}

#[derive(Debug, Args)]
pub struct KernelExplain {
    /// The option, with or without CONFIG_
    #[arg(value_name = "CONFIG_NAME")]
    pub option: Symbol,
    /// The kernel's source, unpacked
    #[arg(long, value_name = "DIR")]
    pub source: PathBuf,
    /// The configuration that it is off in [default: an empty one]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The architecture, as the folders of arch/ in the kernel's source are called
    #[arg(long, default_value = "arm64")]
    pub arch: String,
}

#[derive(Debug, Args)]
pub struct Openharmony {
    #[command(subcommand)]
    pub command: OpenharmonyCommand,
}

#[derive(Debug, Subcommand)]
pub enum OpenharmonyCommand {
    /// Show what would be changed, and with --write change it
    Apply(OpenharmonyApply),
}

#[derive(Debug, Args)]
pub struct OpenharmonyApply {
    /// The checkout: the folder that has build/ and kernel/
    pub dir: PathBuf,
    /// The board: a name of `cargo xtask list` [default: the first with a source tree]
    #[arg(long)]
    pub target: Option<String>,
    /// Change the files, all or none
    #[arg(long)]
    pub write: bool,
    /// Take the changes back
    #[arg(long)]
    pub revert: bool,
}

#[derive(Debug, Args)]
pub struct Push {
    #[command(flatten)]
    pub reach: Reach,
    /// The bundle [default: dist/TARGET/slipway-TARGET-VERSION.tar.gz]
    #[arg(long, value_name = "FILE.tar.gz")]
    pub bundle: Option<PathBuf>,
    /// Start it at every boot of the board
    #[arg(long)]
    pub boot: bool,
    /// Install it even if the board's kernel lacks options that containers need
    #[arg(long)]
    pub any_kernel: bool,
    /// A secret of the bundle, from a file that holds nothing else; else SLIPWAY_SECRET_NAME, else it is asked for
    #[arg(long = "secret", value_name = "NAME=FILE")]
    pub secrets: Vec<SecretFile>,
    /// How many bytes go in one piece
    #[arg(long, hide = true, default_value_t = crate::ship::board::upload::PIECE, value_parser = clap::value_parser!(u64).range(1..))]
    pub piece: u64,
}

/// Which board, and the way to it.
#[derive(Debug, Args)]
pub struct Reach {
    /// The board: a name of `cargo xtask list`
    #[arg(long)]
    pub target: String,
    /// The way to it: hdc, adb, ssh or emulator [default: those of the target, whichever finds the board]
    #[arg(long, value_name = "WAY")]
    pub via: Option<Via>,
    /// Which board of several: what hdc or adb lists; for ssh USER@HOST or USER@HOST:PORT
    #[arg(long, value_name = "ID")]
    pub device: Option<Key>,
}

#[derive(Debug, Args)]
pub struct Board {
    #[command(subcommand)]
    pub verb: Verb,
}

/// What the script on the board is asked to do.
#[derive(Debug, Subcommand)]
pub enum Verb {
    /// Tell what is installed and what runs
    Status {
        #[command(flatten)]
        reach: Reach,
        /// Lines of key=value, for programs
        #[arg(long)]
        porcelain: bool,
    },
    /// Prepare the board, start the daemons, run a first container
    Up {
        #[command(flatten)]
        reach: Reach,
        /// Format the device of the data root if it holds no file system, or another than TYPE
        #[arg(long, value_name = "TYPE", num_args = 0..=1, require_equals = true, default_missing_value = "")]
        format: Option<String>,
    },
    /// Stop the daemons and undo what `up` did
    Down(Reach),
    /// Hash every file again, check mounts and daemons, run a container
    Verify(Reach),
    /// Go back to the bundle before this one
    Rollback(Reach),
    /// Tell what the board lacks, and what to do about it
    Doctor(Reach),
    /// Show the end of a daemon's log
    Logs {
        #[command(flatten)]
        reach: Reach,
        /// The daemon [default: all]
        name: Option<String>,
        /// Go on as it grows, until Ctrl-C
        #[arg(long, short)]
        follow: bool,
    },
    /// Remove everything of Slipway's
    Uninstall {
        #[command(flatten)]
        reach: Reach,
        /// Containers and images too
        #[arg(long)]
        data: bool,
    },
    /// Open a shell on the board, the bundle's programs first in its PATH
    Shell(Reach),
}

#[derive(Debug, Args)]
pub struct Clean {
    /// Also remove fetched sources and tools
    #[arg(long)]
    pub all: bool,
}

/// A target and its changes.
#[derive(Debug, Args)]
pub struct TargetArgs {
    /// The board: a name of `cargo xtask list`
    #[arg(long)]
    pub target: String,
    /// Change one thing for this run: VARIABLE=VALUE, RECIPE.version=V, RECIPE.arch=A, RECIPE.toolchain=T
    #[arg(long = "set", value_name = "NAME=VALUE")]
    pub set: Vec<Override>,
    /// The board's variables, as `cargo xtask settings` writes them; --set comes before it
    #[arg(long, value_name = "FILE.toml")]
    pub settings: Option<PathBuf>,
}

impl TargetArgs {
    pub fn changes(&self, project: &Project) -> Result<Changes> {
        commands::changes(project, &self.set, self.settings.as_deref())
    }
}

/// Where sources may come from.
#[derive(Debug, Clone, Args)]
pub struct Places {
    /// A folder or URL to look in first; may be given several times
    #[arg(long, value_name = "DIR|URL", env = "SLIPWAY_MIRROR")]
    pub mirror: Vec<String>,
    /// Use no network: only the store, and mirrors that are folders
    #[arg(long)]
    pub offline: bool,
}

/// How to build.
#[derive(Debug, Clone, Args)]
pub struct BuildArgs {
    #[command(flatten)]
    pub places: Places,
    /// How many processes compute at once [default: the processors]
    #[arg(long, short, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub jobs: Option<u16>,
    /// After a failure, still build what does not depend on it
    #[arg(long)]
    pub keep_going: bool,
    /// The C toolchain [default: the one that says so in toolchains/]
    #[arg(long, value_name = "NAME")]
    pub toolchain: Option<String>,
    #[command(flatten)]
    pub cage: Cage,
    /// Have sources list their files in another order: what the second build of `repro` runs with
    #[arg(long, hide = true)]
    pub reverse_folders: bool,
}

/// Whether steps run in a sandbox.
#[derive(Debug, Clone, Args)]
pub struct Cage {
    /// Run the steps in a sandbox: no network, declared inputs only, fixed paths (off: for machines that forbid it)
    #[arg(long, value_name = "on|off", env = "SLIPWAY_SANDBOX", default_value = "on", hide_possible_values = true)]
    pub sandbox: SandboxArg,
}

impl Cage {
    pub fn is_on(&self) -> bool {
        self.sandbox == SandboxArg::On
    }
}

/// Whether the steps of a build are caged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum SandboxArg {
    On,
    /// For machines that forbid it; the manifest says so
    Off,
}

/// Parses, runs, prints the error if there is one, and gives the exit status.
pub fn main() -> ExitCode {
    // First of all: what enters a sandbox must have no threads, no handlers, and no time to lose.
    if let Some(status) = sandbox::inside::entered() {
        return status;
    }
    // Folders and files get the modes that we say, not the caller's umask.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    let cli = Cli::parse();
    let ui = Ui::new(cli.global.json, cli.global.verbose);
    let Some(command) = &cli.command else {
        let _ = Cli::command().print_help();
        return ExitCode::SUCCESS;
    };
    match interrupt::install().and_then(|()| run(command, &cli.global, &ui)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let code = error::exit_code(&error);
            ui.error(&error::render(&error), code);
            ExitCode::from(code)
        }
    }
}

fn run(command: &Command, global: &Global, ui: &Ui) -> Result<()> {
    let project = || commands::project(global.project.as_deref());
    match command {
        Command::Bundle(args) => commands::build::bundle(&project()?, args, ui),
        Command::Recipe(args) => commands::build::recipe(&project()?, args, ui),
        Command::Fetch(args) => commands::fetch::fetch(&project()?, args, ui),
        Command::Mirror(args) => commands::fetch::mirror(&project()?, args, ui),
        Command::Update(args) => commands::update::run(&project()?, args, ui),
        Command::Plan(args) => commands::show::plan(&project()?, args, ui),
        Command::Settings(args) => commands::settings::settings(&project()?, args, ui),
        Command::List => commands::show::list(&project()?, ui),
        Command::Repro(args) => commands::repro::repro(&project()?, args, ui),
        Command::Why(args) => commands::why::why(&project()?, args, ui),
        Command::Emulate(args) => commands::emulate::emulate(&project()?, args, ui),
        Command::Patch(args) => commands::patch::patch(&project()?, args, ui),
        Command::Kernel(args) => commands::kernel::kernel(&project()?, args, ui),
        Command::Openharmony(args) => commands::openharmony::openharmony(&project()?, args, ui),
        Command::Push(args) => commands::push::push(&project()?, args, ui),
        Command::Board(args) => commands::board::board(&project()?, &args.verb, ui),
        Command::Doctor => commands::doctor::doctor(&project()?, ui),
        Command::Clean(args) => commands::clean::clean(&project()?, args, ui),
    }
}
