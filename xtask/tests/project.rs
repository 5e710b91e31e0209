//! This repository's own data: the plans of every target are goldens, and the documents are true.
//!
//! `INSTA_UPDATE=always cargo test` writes the goldens anew; read the difference before you commit it.

mod support;

use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use support::{Ran, Space};
use xtask::data::project::Project;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn xtask(args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).current_dir(root()).output().unwrap();
    Ran::of(output, Path::new("/nonexistent"))
}

#[test]
fn plans_of_the_targets() {
    for target in Project::load(&root()).unwrap().targets.keys() {
        let ran = xtask(&["plan", "--target", target.as_str()]);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        insta::assert_snapshot!(format!("plan-{target}"), ran.stdout);
    }
}

#[test]
fn the_list() {
    insta::assert_snapshot!(xtask(&["list"]).stdout);
}

#[test]
fn the_help() {
    insta::assert_snapshot!(xtask(&["--help"]).stdout);
    for command in [
        "bundle", "recipe", "fetch", "mirror", "update", "plan", "settings", "repro", "why", "emulate", "push",
        "board", "clean",
    ] {
        insta::assert_snapshot!(format!("help-{command}"), xtask(&[command, "--help"]).stdout);
    }
    for (command, part) in
        [("kernel", "check"), ("kernel", "fragment"), ("kernel", "explain"), ("openharmony", "apply")]
    {
        insta::assert_snapshot!(format!("help-{command}-{part}"), xtask(&[command, part, "--help"]).stdout);
    }
}

#[test]
fn overrides_change_one_program() {
    let ran =
        xtask(&["plan", "--target", "dayu200", "--set", "iptables.arch=aarch64", "--set", "iproute2.version=6.1.0"]);
    assert!(ran.stdout.contains("plan 2: iptables 1.8.7 aarch64 with zig"), "{}", ran.stdout);
    assert!(ran.stdout.contains("plan 2: iproute2 6.1.0 aarch64 with zig"), "{}", ran.stdout);
}

/// Policy is data: the day a recipe's name decides something in the code, this fails.
#[test]
fn no_recipe_in_the_source_code() {
    let project = Project::load(&root()).unwrap();
    let mut sources = vec![root().join("xtask/src")];
    while let Some(path) = sources.pop() {
        if path.is_dir() {
            sources.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
            continue;
        }
        let code = fs::read_to_string(&path).unwrap();
        let code: String = code.lines().filter(|line| !line.trim_start().starts_with("//")).collect();
        // Tests and help texts need examples; code that branches on a name compares or matches it.
        let code = code.split("mod tests").next().unwrap();
        for recipe in project.recipes.keys() {
            for branch in [format!("== \"{recipe}\""), format!("\"{recipe}\" =>"), format!("\"{recipe}\" |")] {
                assert!(!code.contains(&branch), "{} branches on the recipe {recipe}", path.display());
            }
        }
    }
}

/// The ```toml blocks of docs/recipes.md that begin with `# PATH` are a project of their own: it loads,
/// and its plans can be made.
#[test]
fn the_recipe_reference_is_true() {
    let text = fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    let space = Space::empty();
    space.write("src/hello/hello.c", "");
    space.write("board/etc/issue", "This is {node_name}.\n");
    let mut count = 0;
    for block in text.split("```toml\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let Some(path) = block.lines().next().and_then(|line| line.strip_prefix("# ")) else { continue };
        let name = path.split_whitespace().next().unwrap();
        assert!(name.ends_with(".toml"), "a block of docs/recipes.md begins with `# PATH.toml`: {path}");
        space.write(name, block);
        count += 1;
    }
    assert!(count >= 6, "docs/recipes.md has {count} examples");
    let project = Project::load(&space.root()).unwrap();
    for target in project.targets.keys() {
        space.ok(&["plan", "--target", target.as_str()]);
    }
}

/// The other way round: a key that the loader takes is in the reference.
#[test]
fn the_recipe_reference_is_complete() {
    let text = fs::read_to_string(root().join("docs/recipes.md")).unwrap();
    for (file, wrong) in [
        ("recipes/x.toml", "wrong = 1\n"),
        ("recipes/x.toml", "[release.\"1\"]\nwrong = 1\n"),
        ("recipes/x.toml", "[release.\"1\".archive]\nwrong = 1\n"),
        ("recipes/x.toml", "[release.\"1\".git]\nwrong = 1\n"),
        ("recipes/x.toml", "[release.\"1\".tree]\nwrong = 1\n"),
        ("recipes/x.toml", "[release.\"1\".debian]\nwrong = 1\n"),
        ("recipes/x.toml", "[build.wrong]\n"),
        ("recipes/x.toml", "[build.autotools]\nwrong = 1\n"),
        ("recipes/x.toml", "[build.make]\nwrong = 1\n"),
        ("recipes/x.toml", "[build.kconfig]\nwrong = 1\n"),
        ("recipes/x.toml", "[build.cc]\nwrong = 1\n"),
        ("recipes/x.toml", "[build.go]\nwrong = 1\n"),
        ("recipes/x.toml", "[build.go]\nmode = \"wrong\"\n"),
        ("recipes/x.toml", "[build.go]\nprograms.x = { wrong = 1 }\n"),
        ("recipes/x.toml", "[build.go]\ntests = [{ wrong = 1 }]\n"),
        ("recipes/x.toml", "[[check]]\nwrong = 1\n"),
        ("toolchains/x.toml", "wrong = 1\n"),
        ("toolchains/x.toml", "[wheel]\nwrong = 1\n"),
        ("toolchains/x.toml", "[program]\nwrong = 1\n"),
        ("toolchains/x.toml", "[debian]\nwrong = 1\n"),
        ("toolchains/x.toml", "[debian]\npackages = [{ wrong = 1 }]\n"),
        ("toolchains/x.toml", "[go]\nwrong = 1\n"),
        ("toolchains/x.toml", "[go.arch.armhf]\nwrong = 1\n"),
        ("toolchains/x.toml", "[c]\nwrong = 1\n"),
        ("toolchains/x.toml", "[c.host]\nwrong = 1\n"),
        ("toolchains/x.toml", "[c.arch.armhf]\nwrong = 1\n"),
        ("targets/x.toml", "wrong = 1\n"),
        ("targets/x.toml", "[recipes]\nx = { wrong = 1 }\n"),
        ("targets/x.toml", "[images.x]\nwrong = 1\n"),
        ("targets/x.toml", "[templates]\nx = { wrong = 1 }\n"),
        ("board/variables.toml", "[x]\nwrong = 1\n"),
        ("board/variables.toml", "[x]\ntype = \"wrong\"\n"),
        ("targets/x.toml", "[kernel]\nwrong = 1\n"),
    ] {
        let space = Space::empty();
        space.write(file, wrong);
        let error = space.run(&["list"]).stderr;
        let (_, keys) =
            error.split_once("expected ").unwrap_or_else(|| panic!("no list of keys for {wrong:?}: {error}"));
        let keys = keys.lines().next().unwrap();
        for key in keys.split('`').skip(1).step_by(2).filter(|key| !key.contains("wrong")) {
            assert!(
                text.contains(&format!("`{key}`")),
                "docs/recipes.md does not explain `{key}` of {file} ({wrong:?})"
            );
        }
    }
}
