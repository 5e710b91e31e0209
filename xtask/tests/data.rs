//! Wrong data files: each is refused with file, line and column, what was expected and what would be right.
//!
//! The messages are goldens: `INSTA_UPDATE=always cargo test` writes them anew.

mod support;

use support::{BOARD, HELLO, HOST_TOOLCHAIN, Space};

/// What `list` says about a project in which one text of one file is replaced.
fn refused(file: &str, from: &str, to: &str) -> String {
    let space = Space::hello();
    let text = space.read(file);
    assert!(text.contains(from), "{file} has no {from:?}");
    space.write(file, &text.replacen(from, to, 1));
    message(&space)
}

fn message(space: &Space) -> String {
    let ran = space.run(&["list"]);
    assert_eq!(ran.status, 4, "expected the status of wrong data:\n{}{}", ran.stdout, ran.stderr);
    ran.stderr
}

macro_rules! refusals {
    ($($name:ident: $file:literal, $from:expr => $to:expr;)*) => {
        $(#[test]
        fn $name() {
            insta::assert_snapshot!(refused($file, $from, $to));
        })*
    };
}

const SUM: &str = "c109c96bb04998cd44156622d36f8e04b140701ec60531a10668cfdff5e8d8f0";

refusals! {
    unknown_key: "recipes/hello.toml", "license =" => "licence =";
    missing_key: "recipes/hello.toml", "summary = \"says hello\"\n" => "";
    not_toml: "recipes/hello.toml", "license = " => "license ";
    key_given_twice: "recipes/hello.toml", "license = \"0BSD\"" => "license = \"0BSD\"\nlicense = \"MIT\"";
    short_hash: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" =>
        "[release.\"1.0\".archive]\nurls = [\"https://example.org/hello.tar.gz\"]\nsha256 = \"c109c96bb04998cd\"";
    hash_in_capitals: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" =>
        &format!("[release.\"1.0\".archive]\nurls = [\"https://example.org/h.tar.gz\"]\nsha256 = \"{}\"", SUM.to_uppercase());
    url_without_file: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" =>
        &format!("[release.\"1.0\".archive]\nurls = [\"https://example.org/\"]\nsha256 = \"{SUM}\"");
    no_urls: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" =>
        &format!("[release.\"1.0\".archive]\nurls = []\nsha256 = \"{SUM}\"");
    a_tag_is_no_commit: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" =>
        "[release.\"1.0\".git]\nurl = \"https://example.org/h.git\"\ncommit = \"v1.0\"";
    two_sources: "recipes/hello.toml", "[build.cc]" =>
        "[release.\"1.0\".git]\nurl = \"https://example.org/h.git\"\ncommit = \"02d5fc3a7f4e73767a1771d3327026fc0f6785bb\"\n[build.cc]";
    no_source: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" => "[release.\"1.0\"]";
    no_release: "recipes/hello.toml", "[release.\"1.0\".tree]\npath = \"src/hello\"" => "[release]";
    no_build: "recipes/hello.toml",
        "[build.cc]\nsources = [\"hello.c\"]\nflags = [\"-DVERSION=\\\"{version}\\\"\", \"-static\", \"-s\"]\noutput = \"hello\"\n" => "";
    unknown_build: "recipes/hello.toml", "[build.cc]" => "[build.cmake]";
    two_builds: "recipes/hello.toml", "[files]" => "[build.make]\nmake = []\n[files]";
    unknown_variable: "recipes/hello.toml", "{version}" => "{verson}";
    bad_version: "recipes/hello.toml", "\"1.0\".tree" => "\"v1.0\".tree";
    path_climbs: "recipes/hello.toml", "\"bin/hello\" = \"hello\"" => "\"../bin/hello\" = \"hello\"";
    absolute_path: "recipes/hello.toml", "\"bin/hello\" = \"hello\"" => "\"bin/hello\" = \"/bin/sh\"";
    no_files: "recipes/hello.toml", "\"bin/hello\" = \"hello\"\n" => "";
    file_and_link: "recipes/hello.toml", "\"bin/hi\" = \"hello\"" => "\"bin/hello\" = \"hi\"";
    file_and_folder: "recipes/hello.toml", "\"bin/hi\" = \"hello\"" => "\"bin/hello/x\" = \"hello\"";
    reserved_path: "recipes/hello.toml", "\"bin/hello\" = \"hello\"" => "\"bin/hello\" = \"hello\"\n\"SHA256SUMS\" = \"sums\"";
    link_to_nowhere: "recipes/hello.toml", "\"bin/hi\" = \"hello\"" => "\"bin/hi\" = \"helo\"";
    links_in_a_circle: "recipes/hello.toml", "\"bin/hi\" = \"hello\"" => "\"bin/hi\" = \"ho\"\n\"bin/ho\" = \"hi\"";
    check_of_nothing: "recipes/hello.toml", "run = [\"bin/hi\"]" => "run = [\"bin/hey\"]";
    check_that_cannot_fail: "recipes/hello.toml", "expect = \"hello 1.0\"" => "expect = \"\"";
    missing_tree: "recipes/hello.toml", "src/hello" => "src/helo";
    unknown_recipe: "targets/board.toml", "hello = " => "helo = ";
    unknown_version: "targets/board.toml", "\"1.0\"" => "\"1.1\"";
    unknown_arch: "targets/board.toml", "\"x86_64\"" => "\"arm64\"";
    missing_board_file: "targets/board.toml", "[recipes]" => "[files]\n\"etc/motd\" = \"board/motd\"\n[recipes]";
    toolchain_of_no_kind: "toolchains/host.toml", "[c]" => "[d]";
    toolchain_without_compiler: "toolchains/host.toml", "gcc = [\"{found}\"]\n" => "";
    toolchain_from_nowhere: "toolchains/host.toml",
        "[c.host]\ninstall = \"apt-get install gcc\"\nidentity = [\"cc1\"]\n" => "";
    no_default_toolchain: "toolchains/host.toml", "default = true\n" => "";
}

#[test]
fn a_path_that_two_recipes_ship() {
    let space = Space::hello();
    space.write("recipes/greet.toml", HELLO);
    space.write("targets/board.toml", &format!("{BOARD}greet = {{ version = \"1.0\" }}\n"));
    insta::assert_snapshot!(message(&space));
}

#[test]
fn two_default_toolchains() {
    let space = Space::hello();
    space.write("toolchains/other.toml", HOST_TOOLCHAIN);
    insta::assert_snapshot!(message(&space));
}

#[test]
fn a_file_that_is_no_recipe() {
    let space = Space::hello();
    space.write("recipes/README.md", "hello\n");
    insta::assert_snapshot!(message(&space));
}

#[test]
fn a_name_that_is_none() {
    let space = Space::hello();
    space.write("recipes/Hello World.toml", HELLO);
    insta::assert_snapshot!(message(&space));
}

#[test]
fn patches_of_a_release_that_is_gone() {
    let space = Space::hello();
    space.write("patches/hello/0.9/0001-fix.patch", "why\n--- a/hello.c\n+++ b/hello.c\n");
    insta::assert_snapshot!(message(&space));
}

#[test]
fn a_patch_without_a_reason() {
    let space = Space::hello();
    space.write("patches/hello/1.0/0001-fix.patch", "--- a/hello.c\n+++ b/hello.c\n");
    insta::assert_snapshot!(message(&space));
}

#[test]
fn a_patch_without_a_number() {
    let space = Space::hello();
    space.write("patches/hello/1.0/fix.patch", "why\n--- a/hello.c\n+++ b/hello.c\n");
    insta::assert_snapshot!(message(&space));
}

#[test]
fn what_is_asked_for_and_not_there() {
    let space = Space::hello();
    let answers = [
        space.run(&["plan", "helo"]),
        space.run(&["plan", "hello", "--version", "2.0"]),
        space.run(&["plan", "hello", "--arch", "armhf"]),
        space.run(&["plan", "--target", "bord"]),
        space.run(&["plan", "--target", "board", "--toolchain", "hots"]),
        space.run(&["plan", "--target", "board", "--set", "helo.version=1.0"]),
        space.run(&["plan", "--target", "board", "--set", "hello.version=9"]),
    ];
    let text: Vec<String> = answers.iter().map(|ran| format!("{} {}", ran.status, ran.stderr)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn wrong_usage() {
    let space = Space::hello();
    let answers = [
        space.run(&["plan", "--target", "board", "--set", "hello=1.0"]),
        space.run(&["plan", "--target", "board", "--set", "hello.colour=red"]),
        space.run(&["plan", "hello", "--arch", "arm64"]),
        space.run(&["bundle"]),
        space.run(&["bundle", "--target", "board", "-j", "0"]),
        space.run(&["build"]),
    ];
    let text: Vec<String> = answers.iter().map(|ran| format!("{} {}", ran.status, ran.stderr)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

#[test]
fn a_plan_of_a_small_program() {
    let space = Space::hello();
    let plan = space.ok(&["plan", "hello", "--arch", "x86_64"]).stdout;
    insta::assert_snapshot!(plan);
    assert_eq!(plan, space.ok(&["plan", "--target", "board"]).stdout, "the target's plan is the program's");
}
