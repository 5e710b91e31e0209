//! Tools that are built here: pinned by what they are, built once, and twice where the host leaks into them.
//!
//! A program in C stands in for make, scripts for the userland, and a static program for a compiler that sees
//! nothing of the host.

mod support;

use std::process::{Child, Stdio};

use fs_err as fs;
use support::{Ran, Space};
use xtask::data::project::{self, Project};
use xtask::data::types::Sha256;
use xtask::run::sandbox;

const NONE: &str = "0000000000000000000000000000000000000000000000000000000000000000";

const MAKE: &str = r#"
summary = "runs the script `build`"
license = "0BSD"
homepage = "https://example.org/make"
version = "1.0"
programs = ["bin/make"]

[built]
recipe = "make"
sha256 = "SHA256"

[program]
provides = "make"
"#;

const MAKE_RECIPE: &str = r#"
summary = "runs the script `build`"
license = "0BSD"
homepage = "https://example.org/make"

[release."1.0".tree]
path = "src/make"

[build.cc]
sources = ["make.c"]
flags = ["-static", "-s"]
output = "make"

[files]
"bin/make" = "make"
"#;

const USERLAND: &str = r#"
summary = "tells which tools made it"
license = "0BSD"
homepage = "https://example.org/userland"
version = "1.0"

[built]
recipe = "userland"
sha256 = "SHA256"

[userland]
path = "bin"
links = { "bin/sh" = "bin/tell" }
env = { TELLS = "{userland}/bin/tell" }
needs = ["sh"]
"#;

/// A recipe that a script builds; it ships one file.
fn scripted(name: &str, file: &str) -> String {
    format!(
        "summary = \"is built by a script\"\nlicense = \"0BSD\"\nhomepage = \"https://example.org/{name}\"\n\
         [release.\"1.0\".tree]\npath = \"src/{name}\"\n[build.make]\nmake = []\n[files]\n\"{file}\" = \"made\"\n"
    )
}

/// A userland whose only tool tells by what it was made: the host's tools, or itself.
fn told_by(who: &str) -> String {
    format!("#!/bin/sh\necho {who}\n")
}

/// A board with `hello`, and `asks`, which ships what the userland's tool tells. The userland is built by `script`.
fn space(script: &str) -> Space {
    let space = Space::hello();
    space.write("toolchains/make.toml", &MAKE.replace("SHA256", NONE));
    space.write("recipes/make.toml", MAKE_RECIPE);
    let program = "#include <unistd.h>\nint main(void) { return execlp(\"sh\", \"sh\", \"build\", (char *)0); }\n";
    space.write("src/make/make.c", program);
    space.write("toolchains/userland.toml", &USERLAND.replace("SHA256", NONE));
    space.write("recipes/userland.toml", &scripted("userland", "bin/tell"));
    space.write("src/userland/build", script);
    space.write("recipes/asks.toml", &scripted("asks", "share/told"));
    space.write("src/asks/build", "tell > made\n\"$TELLS\" >> made\n");
    let board = space.read("targets/board.toml");
    space.write("targets/board.toml", &format!("{board}asks = {{ version = \"1.0\" }}\n"));
    space
}

const BY_WHAT_THERE_IS: &str = "if command -v tell > /dev/null; then who=itself; else who=the-host; fi\n\
                                printf '#!/bin/sh\\necho %s\\n' $who > made\nchmod +x made\n";

/// Writes the hash of the make that this machine's compiler makes into its toolchain.
fn record_make(space: &Space) {
    let ran = space.run(&["recipe", "asks", "--arch", "x86_64"]);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    let found = ran.stderr.lines().find_map(|line| line.trim().strip_prefix("found    ")).unwrap();
    space.write("toolchains/make.toml", &MAKE.replace("SHA256", found));
}

/// Writes the hash of a userland whose tool is this text.
fn record_userland(space: &Space, text: &str) {
    let dir = space.cache().join("expected");
    fs::create_dir_all(dir.join("bin")).unwrap();
    fs::write(dir.join("bin/tell"), text).unwrap();
    xtask::run::store::set_mode(&dir.join("bin/tell"), 0o755).unwrap();
    let hash = project::hash_tree(&dir).unwrap();
    space.write("toolchains/userland.toml", &USERLAND.replace("SHA256", hash.as_str()));
}

fn asks(space: &Space) -> Ran {
    space.run(&["recipe", "asks", "--arch", "x86_64"])
}

#[test]
fn a_userland_that_holds_the_host_is_built_again_by_itself() {
    let space = space(BY_WHAT_THERE_IS);
    record_make(&space);
    record_userland(&space, &told_by("itself"));
    let ran = asks(&space);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("make userland 1.0").count(), 2, "{}", ran.stderr);
    assert!(ran.stderr.contains("again userland 1.0 holds something of this machine's tools"), "{}", ran.stderr);
    assert_eq!(space.read("dist/recipes/asks-1.0-x86_64/share/told"), "itself\nitself\n");

    // Results are gone, tools are not.
    space.ok(&["clean"]);
    let ran = asks(&space);
    assert!(ran.status == 0 && !ran.stderr.contains("userland"), "{}", ran.stderr);
}

#[test]
fn a_userland_that_is_as_recorded_is_built_once() {
    let space = space("printf '#!/bin/sh\\necho whoever\\n' > made\nchmod +x made\n");
    record_make(&space);
    record_userland(&space, &told_by("whoever"));
    let ran = asks(&space);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    assert_eq!(ran.stderr.matches("make userland 1.0").count(), 1, "{}", ran.stderr);
    assert_eq!(space.read("dist/recipes/asks-1.0-x86_64/share/told"), "whoever\nwhoever\n");
}

#[test]
fn a_tool_that_is_not_as_recorded_is_told() {
    let space = space(BY_WHAT_THERE_IS);
    record_make(&space);
    record_userland(&space, &told_by("somebody"));
    let ran = asks(&space);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    let at = ran.stderr.find("error:").unwrap();
    insta::assert_snapshot!(&ran.stderr[at..]);
    assert!(!space.exists("dist"));
    let itself = fs::read_dir(space.cache().join("tools")).unwrap().any(|entry| {
        let tell = entry.unwrap().path().join("bin/tell");
        fs::read_to_string(tell).is_ok_and(|text| text == told_by("itself"))
    });
    assert!(itself, "what was found can be looked at");
}

#[test]
fn what_only_compiles_needs_none_of_them() {
    let space = space("exit 1\n");
    let ran = space.ok(&["recipe", "hello", "--arch", "x86_64"]);
    assert!(!ran.stderr.contains("userland") && !ran.stderr.contains("make 1.0"), "{}", ran.stderr);
}

#[test]
fn processes_share_one_build_of_a_tool() {
    let space = space(BY_WHAT_THERE_IS);
    record_make(&space);
    record_userland(&space, &told_by("itself"));
    fs::remove_dir_all(space.cache()).unwrap();
    space.write("recipes/asks-too.toml", &space.read("recipes/asks.toml"));
    let start = |recipe: &&str| {
        let mut command = space.xtask(&["recipe", recipe, "--arch", "x86_64"]);
        command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap()
    };
    let children: Vec<Child> = ["asks", "asks-too", "asks", "asks-too"].iter().map(start).collect();
    let outputs: Vec<_> = children.into_iter().map(|child| child.wait_with_output().unwrap()).collect();
    let text: String = outputs.iter().map(|output| String::from_utf8_lossy(&output.stderr)).collect();
    assert!(outputs.iter().all(|output| output.status.success()), "{text}");
    assert_eq!(text.matches("compile make 1.0").count(), 1, "{text}");
    assert_eq!(text.matches("make userland 1.0").count(), 2, "both stages, once: {text}");
}

#[test]
fn keys_hold_what_a_tool_is_and_not_how_it_was_made() {
    let space = space(BY_WHAT_THERE_IS);
    let plan = |space: &Space| space.ok(&["plan", "asks", "--arch", "x86_64"]).stdout;
    let before = plan(&space);
    insta::assert_snapshot!(before);
    space.write("src/userland/build", "# another script\n");
    assert_eq!(plan(&space), before);
    space.write("toolchains/make.toml", &MAKE.replace("SHA256", Sha256::of("other").as_str()));
    assert_ne!(plan(&space), before);
}

#[test]
fn their_sources_are_fetched_too() {
    let space = space(BY_WHAT_THERE_IS);
    let archive = "[release.\"1.0\".archive]\nurls = [\"http://127.0.0.1:9/make-1.0.tar.gz\"]\n";
    let archive = format!("{archive}sha256 = \"{NONE}\"\n");
    let recipe = MAKE_RECIPE.replace("[release.\"1.0\".tree]\npath = \"src/make\"\n", &archive);
    space.write("recipes/make.toml", &recipe);
    let ran = space.run(&["fetch", "--target", "board", "--offline"]);
    assert!(ran.status == 5 && ran.stderr.contains("make-1.0.tar.gz"), "{}", ran.stderr);
}

/// Either packing of a source serves, and each under its own hash.
#[test]
fn a_repacked_source_serves_where_upstreams_cannot_be_had() {
    let space = space(BY_WHAT_THERE_IS);
    let packed = pack("make-1.0.orig/make.c", b"int main(void) { return 0; }\n");
    let hash = Sha256::of(&packed);
    let archive = format!(
        "[release.\"1.0\".archive]\nurls = [\"http://127.0.0.1:9/make-1.0.tar.gz\"]\nsha256 = \"{NONE}\"\n\
         repacked = {{ suite = \"trixie\", package = \"make\", file = \"make_1.0.orig.tar.gz\", sha256 = \"{hash}\" }}\n"
    );
    let recipe = MAKE_RECIPE.replace("[release.\"1.0\".tree]\npath = \"src/make\"\n", &archive);
    space.write("recipes/make.toml", &recipe);
    fs::create_dir_all(space.root().join("mirror")).unwrap();
    fs::write(space.root().join("mirror/make_1.0.orig.tar.gz"), packed).unwrap();
    let ran = space.ok(&["recipe", "make", "--arch", "x86_64", "--offline", "--mirror", "mirror"]);
    assert!(ran.stderr.contains("as make_1.0.orig.tar.gz"), "{}", ran.stderr);
}

#[test]
fn wrong_tools_are_refused() {
    let refused = |file: &str, from: &str, to: &str| {
        let space = space("");
        let text = space.read(file);
        assert!(text.contains(from), "{file} has no {from:?}");
        space.write(file, &text.replacen(from, to, 1));
        let ran = space.run(&["list"]);
        assert_eq!(ran.status, 4, "{}{}", ran.stdout, ran.stderr);
        ran.stderr
    };
    let make = "toolchains/make.toml";
    let texts = [
        refused(make, "recipe = \"make\"", "recipe = \"mak\""),
        refused(make, "version = \"1.0\"", "version = \"1.1\""),
        refused(make, "version = \"1.0\"\n", ""),
        refused(make, "recipe = \"make\"", "recipe = \"asks\""),
        refused(make, "[built]", &format!("[archive]\nurls = [\"https://a/b\"]\nsha256 = \"{NONE}\"\n[built]")),
        refused("toolchains/userland.toml", &format!("[built]\nrecipe = \"userland\"\nsha256 = \"{NONE}\"\n"), ""),
        refused(
            "toolchains/host.toml",
            "[c.host]",
            &format!("[built]\nrecipe = \"make\"\nsha256 = \"{NONE}\"\n[c.host]"),
        ),
    ];
    insta::assert_snapshot!(texts.join("\n"));
    let space = space("");
    space.write("toolchains/other.toml", &USERLAND.replace("SHA256", NONE));
    insta::assert_snapshot!("two_userlands", space.run(&["list"]).stderr);
}

/// This repository's own: each can be planned, and none needs a compiler of the host.
#[test]
fn plans_of_our_own_tools() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let project = Project::load(root).unwrap();
    for toolchain in project.toolchains.values().filter(|toolchain| toolchain.built.is_some()) {
        let plan = xtask::plan::tool(&project, toolchain, &xtask::plan::Stage::First).unwrap();
        assert_eq!(plan.host, toolchain.userland().is_some(), "{}", toolchain.name);
        insta::assert_snapshot!(format!("tool-{}", toolchain.name), plan.text());
        let again = xtask::plan::tool(&project, toolchain, &xtask::plan::Stage::Second(Sha256::of("first"))).unwrap();
        assert!(!again.host, "{}: the second stage sees nothing of the host", toolchain.name);
    }
}

/// A compiler that fails where it sees anything of the host, and gives a program: itself.
const COMPILER: &str = r#"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int main(int argc, char **argv) {
    const char *host[] = {"/usr", "/bin", "/lib", "/lib64", "/sbin", "/root", "/home"};
    for (unsigned i = 0; i < sizeof host / sizeof *host; i++)
        if (access(host[i], F_OK) == 0) return printf("%s is there\n", host[i]), 1;
    for (int i = 1; i < argc - 1; i++) {
        if (strcmp(argv[i], "-o")) continue;
        FILE *from = fopen("/proc/self/exe", "rb"), *to = fopen(argv[i + 1], "wb");
        for (int c; from && to && (c = getc(from)) != EOF;) putc(c, to);
        if (!from || !to || fclose(to)) return 1;
    }
    return 0;
}
"#;

#[test]
fn a_build_in_a_sandbox_sees_nothing_of_the_host() {
    sandbox::set_program(std::path::Path::new(env!("CARGO_BIN_EXE_xtask")));
    if let Err(why) = sandbox::probe() {
        return eprintln!("SKIPPED: no sandbox here: {why}; {}", why.mend);
    }
    let space = Space::hello();
    space.write("compiler/cc.c", COMPILER);
    let built = space.root().join("compiler/cc");
    let mut gcc = std::process::Command::new("cc");
    gcc.args(["-static", "-s", "-o"]).arg(&built).arg(space.root().join("compiler/cc.c"));
    assert!(gcc.status().unwrap().success());
    let packed = pack("compiler/cc", &fs::read(&built).unwrap());
    let hash = Sha256::of(&packed);
    fs::create_dir_all(space.root().join("mirror")).unwrap();
    fs::write(space.root().join("mirror/compiler.tar.gz"), packed).unwrap();
    let toolchain = space.read("toolchains/host.toml");
    let toolchain = toolchain.replace(
        "[c.host]\ninstall = \"apt-get install gcc\"\nidentity = [\"cc1\"]\n",
        &format!("[archive]\nurls = [\"http://127.0.0.1:9/compiler.tar.gz\"]\nsha256 = \"{hash}\"\n"),
    );
    let toolchain = toolchain.replace("{found}", "{tool}/cc").replace("\n[c]\n", "version = \"1\"\n[c]\n");
    // A table ends where the next begins: [archive] may stand between those of [c].
    space.write("toolchains/host.toml", &toolchain);
    let recipe = space.read("recipes/hello.toml");
    space.write("recipes/hello.toml", recipe.split("[[check]]").next().unwrap());
    let run = |cage: &str| space.run(&["recipe", "hello", "--arch", "x86_64", "--mirror", "mirror", "--offline", cage]);
    let ran = run("--sandbox=on");
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let ran = run("--sandbox=off");
    assert!(ran.status != 0 && ran.stderr.contains("/usr is there"), "{}", ran.stderr);
}

/// One executable file as a .tar.gz.
fn pack(path: &str, bytes: &[u8]) -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, path, bytes).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}
