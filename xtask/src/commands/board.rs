//! `board`: the commands of the script on the board, from here.

use std::io::Write as _;

use crate::cli::{Reach, Verb};
use crate::data::board::Via;
use crate::data::project::Project;
use crate::data::target::Target;
use crate::error::{Failure, Kind, Result};
use crate::run::process::quote;
use crate::run::store::Store;
use crate::ship::board::emulator::Emulated;
use crate::ship::board::script::Script;
use crate::ship::board::{Link, device, package};
use crate::ship::bundle;
use crate::ship::emulator::machine;
use crate::ui::Ui;

/// `cargo xtask board`.
pub fn board(project: &Project, verb: &Verb, ui: &Ui) -> Result<()> {
    let (reach, args) = words(verb);
    let target = project.target(&reach.target)?;
    let bundle = bundle::path(&project.root.join("dist"), &target.name);
    let dir = package::board_dir_of(&bundle)?;
    let link = connect(target, reach)?;
    let Some(args) = args else { return shell(&*link, &dir, ui) };
    let script = Script::installed(&dir);
    if !script.is_there(&*link)? {
        let what = format!("{}: no bundle is installed in {dir}", link.name());
        return Err(Failure::new(Kind::Board, what).next(format!("cargo xtask push --target {}", target.name)).into());
    }
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let (status, _) = script.run(&*link, &args, &mut |line| {
        // A reader that went away (`| head`) is not an error of ours.
        let mut out = std::io::stdout().lock();
        let _ = out.write_all(line).and_then(|()| out.flush());
        Ok(())
    })?;
    ended(&*link, args[0], status)
}

/// The board that is meant.
pub fn connect(target: &Target, reach: &Reach) -> Result<Box<dyn Link>> {
    if reach.via != Some(Via::Emulator) {
        return device::connect(&target.board.via, reach.via, reach.device.as_ref());
    }
    let store = Store::open(&Store::default_root()?)?;
    let name = target.name.as_str();
    Ok(Box::new(Emulated::attach(name, &machine::folder(&store, name))?))
}

/// The script has said what went wrong; here only its status is passed on.
fn ended(link: &dyn Link, command: &str, status: i32) -> Result<()> {
    match u8::try_from(status) {
        Ok(0) => Ok(()),
        Ok(status) => {
            let what = format!("`slipway {command}` on {} ended with exit status {status}", link.name());
            Err(Failure::new(Kind::Script(status), what).into())
        }
        Err(_) => {
            let what = format!("`slipway {command}` on {} ended with the impossible status {status}", link.name());
            Err(Failure::new(Kind::Board, what).into())
        }
    }
}

fn shell(link: &dyn Link, dir: &str, ui: &Ui) -> Result<()> {
    let path = format!("PATH={}:$PATH", quote(&format!("{dir}/current/bin")));
    ui.note("shell", &format!("{}; `exit` ends it. The bundle's programs: {path}", link.name()));
    let status = link.interact(Some(&format!("{path}; export PATH; exec sh -i")))?;
    ended(link, "shell", status)
}

/// The board that is meant, and the script's words; none for a shell.
fn words(verb: &Verb) -> (&Reach, Option<Vec<String>>) {
    let plain = |reach, word: &str| (reach, Some(vec![word.to_owned()]));
    let with = |reach, word: &str, more: Vec<Option<String>>| {
        (reach, Some(std::iter::once(word.to_owned()).chain(more.into_iter().flatten()).collect()))
    };
    let flag = |set: bool, flag: &str| set.then(|| flag.to_owned());
    match verb {
        Verb::Status { reach, porcelain } => with(reach, "status", vec![flag(*porcelain, "--porcelain")]),
        Verb::Up { reach, format } => {
            let format = format.as_ref().map(|kind| match kind.is_empty() {
                true => "--format".to_owned(),
                false => format!("--format={kind}"),
            });
            with(reach, "up", vec![format])
        }
        Verb::Down(reach) => plain(reach, "down"),
        Verb::Verify(reach) => plain(reach, "verify"),
        Verb::Rollback(reach) => plain(reach, "rollback"),
        Verb::Doctor(reach) => plain(reach, "doctor"),
        Verb::Logs { reach, name, follow } => with(reach, "logs", vec![name.clone(), flag(*follow, "-f")]),
        Verb::Uninstall { reach, data } => with(reach, "uninstall", vec![flag(*data, "--data")]),
        Verb::Shell(reach) => (reach, None),
    }
}
