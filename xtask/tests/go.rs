//! Go programs, from plan to result. A shell script stands in for Go: it says what it was told, and "links" by
//! compiling a line of C that holds what a linker would set.

mod support;

use fs_err as fs;
use support::Space;

/// `go build` makes a static program that prints every `-X` value but those of a variable called `gone`, and
/// remembers its environment; `go test` passes tests that match `Good`.
const GO: &str = r#"#!/bin/sh
if [ "$1" = test ]; then
  case "$*" in
    *Good*) echo "=== RUN   TestGood"; echo "--- PASS: TestGood (0.00s)"; echo ok; exit 0 ;;
    *Bad*) echo "--- FAIL: TestBad (0.00s)"; echo FAIL; exit 1 ;;
    *) echo "ok  	example.org/tool	0.001s [no tests to run]"; exit 0 ;;
  esac
fi
values= output= last=
for word; do
  case "$last" in
    -o) output=$word ;;
    -ldflags) set -f; previous=
      for flag in $word; do
        case "$previous:$flag" in
          -X:*gone=*) ;;
          -X:*) values="$values ${flag#*=}" ;;
        esac
        previous=$flag
      done ;;
  esac
  last=$word
done
mkdir -p "$(dirname "$output")"
[ -e "$GOPATH/src/$last" ] || { echo "package $last is not in $GOPATH" >&2; exit 1; }
printf '#include <stdio.h>\nint main(void) { puts("%s:%s"); return 0; }\n' "$last" "$values" > "$TMPDIR/main.c"
env | sort | sed "s|$PWD|SRC|g; s|$HOME|HOME|g" > environment
exec cc -static -s -o "$output" "$TMPDIR/main.c"
"#;

const TOOLCHAIN: &str = r#"
summary = "a stand-in for Go"
license = "0BSD"
homepage = "https://example.org/go"
version = "1.0"
programs = ["bin/go"]

[archive]
urls = ["https://go.invalid/go.tar.gz"]
sha256 = "SHA256"

[go]
flags = ["-buildvcs=false"]

[go.arch.x86_64]
goarch = "amd64"
"#;

const TOOL: &str = r#"
summary = "a program in Go"
license = "0BSD"
homepage = "https://example.org/tool"

[vars]
data_root = "/var"

[release."1.0"]
go = "go"
revision = "abc"
tree = { path = "src/tool" }

[build.go]
mode = "gopath"
import = { "." = "example.org/tool" }
tags = ["netgo"]
tests = [{ package = "example.org/tool", run = "^TestGood$" }]
set = { "main.version" = "{version}", "main.revision" = "{revision}", "main.root" = "{var.data_root}/lib" }

[build.go.programs]
"out/tool" = { package = "example.org/tool/cmd/tool" }

[files]
"bin/tool" = "out/tool"
"share/environment" = "environment"

[[check]]
run = ["bin/tool"]
expect = "example.org/tool/cmd/tool: abc {var.data_root}/lib {version}"
"#;

/// A project with a Go toolchain, a program in Go and one in C, and a target that sets a variable.
fn space() -> Space {
    let space = Space::hello();
    let archive = archive();
    let sha256 = xtask::data::types::Sha256::of(&archive);
    space.write("toolchains/go.toml", &TOOLCHAIN.replace("SHA256", sha256.as_str()));
    fs::create_dir_all(space.root().join("mirror")).unwrap();
    fs::write(space.root().join("mirror/go.tar.gz"), archive).unwrap();
    space.write("recipes/tool.toml", TOOL);
    space.write("src/tool/cmd/tool/main.go", "package main\n");
    let board = space.read("targets/board.toml");
    space.write(
        "targets/board.toml",
        &format!("{board}tool = {{ version = \"1.0\" }}\n[vars]\ndata_root = \"/data\"\n"),
    );
    space
}

fn archive() -> Vec<u8> {
    let mut tar = tar::Builder::new(flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast()));
    let mut header = tar::Header::new_gnu();
    header.set_size(GO.len() as u64);
    header.set_mode(0o755);
    tar.append_data(&mut header, "go/bin/go", GO.as_bytes()).unwrap();
    tar.into_inner().unwrap().finish().unwrap()
}

const BUNDLE: [&str; 6] = ["bundle", "--target", "board", "--offline", "--mirror", "mirror"];

fn recipe(space: &Space) -> support::Ran {
    space.run(&["recipe", "tool", "--arch", "x86_64", "--offline", "--mirror", "mirror"])
}

#[test]
fn a_plan_in_go() {
    let space = space();
    insta::assert_snapshot!(space.ok(&["plan", "tool", "--arch", "x86_64"]).stdout);
    let plan = space.ok(&["plan", "--target", "board"]).stdout;
    assert!(plan.contains("-X main.root=/data/lib"), "the target's variable counts: {plan}");
}

#[test]
fn a_program_is_built_in_an_exact_environment() {
    let space = space();
    let ran = recipe(&space);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    let environment = space.read("dist/recipes/tool-1.0-x86_64/share/environment");
    let known: String = environment
        .lines()
        .filter(|line| !["PWD=", "_=", "SHLVL=", "OLDPWD="].iter().any(|own| line.starts_with(own)))
        .map(|line| if line.starts_with("GOMAXPROCS=") { "GOMAXPROCS=N\n".to_owned() } else { format!("{line}\n") })
        .collect();
    let cache = space.cache().to_string_lossy().into_owned();
    let known = known.replace(&cache, "CACHE");
    // The folders' hashes differ with the archive's bytes, the work folder's with the plan's.
    // In a sandbox there are none.
    let caged = [("GOROOT", "/build/go\n"), ("GOCACHE", "/build/gocache\n")];
    let open = [("GOROOT", "CACHE/tools/go-"), ("GOCACHE", "CACHE/tool-cache/go-")];
    let places = if support::sandbox_works() { caged } else { open };
    for (name, start) in places.into_iter().chain([("GOPATH", "SRC/.gopath")]) {
        assert!(known.contains(&format!("{name}={start}")), "{known}");
    }
    let names: Vec<&str> = known.lines().map(|line| line.split('=').next().unwrap()).collect();
    insta::assert_snapshot!(names.join(" "));
    for exact in
        ["GOPROXY=off", "GOSUMDB=off", "GOENV=off", "GOTOOLCHAIN=local", "GOFLAGS=", "GO111MODULE=off", "CGO_ENABLED=0"]
    {
        assert!(known.lines().any(|line| line == exact), "{exact} is not in\n{known}");
    }
}

#[test]
fn no_c_compiler_is_needed_without_cgo() {
    let space = space();
    fs::remove_file(space.root().join("targets/board.toml")).unwrap();
    let text = space.read("toolchains/host.toml").replace("[c.arch.x86_64]", "[c.arch.armhf]");
    space.write("toolchains/host.toml", &text);
    let ran = recipe(&space);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
}

#[test]
fn a_value_that_the_linker_cannot_set_is_found_out() {
    let space = space();
    space.write("recipes/tool.toml", &TOOL.replace("\"main.root\"", "\"main.gone\""));
    let ran = recipe(&space);
    assert_eq!(ran.status, 6, "{}", ran.stderr);
    insta::assert_snapshot!(ran.stderr.split("error:").nth(1).unwrap());
}

#[test]
fn a_test_that_fails_or_does_not_exist_stops_the_build() {
    for (run, status) in [("^TestBad$", "exit status 1"), ("^TestNone$", "it did not print \"\\n--- PASS: \"")] {
        let space = space();
        space.write("recipes/tool.toml", &TOOL.replace("^TestGood$", run));
        let ran = recipe(&space);
        assert_eq!(ran.status, 3, "{}", ran.stderr);
        assert!(
            ran.stderr.contains(&format!("go test example.org/tool of tool 1.0 x86_64 failed: {status}")),
            "{}",
            ran.stderr
        );
    }
}

#[test]
fn a_variable_rebuilds_what_reads_it_and_nothing_else() {
    let space = space();
    space.ok(&BUNDLE);
    let again = space.ok(&[&BUNDLE[..], &["--set", "data_root=/card"]].concat());
    assert!(again.stderr.contains("go build"), "{}", again.stderr);
    assert!(!again.stderr.contains("compile"), "the program in C is as it was: {}", again.stderr);
    let tool = space.cache().join("out");
    assert_eq!(fs::read_dir(tool).unwrap().count(), 3, "two of the program in Go, one of the other");
}

#[test]
fn a_group_moves_its_members_together() {
    let space = space();
    for name in ["hello", "tool"] {
        let text = space.read(&format!("recipes/{name}.toml"));
        let release = match name {
            "hello" => "[release.\"2.0\".tree]\npath = \"src/hello\"\n\n[build",
            _ => "[release.\"2.0\"]\ngo = \"go\"\nrevision = \"def\"\ntree = { path = \"src/tool\" }\n\n[build",
        };
        space.write(&format!("recipes/{name}.toml"), &text.replacen("[build", release, 1));
    }
    let board = space.read("targets/board.toml");
    space.write("targets/board.toml", &format!("{board}[groups.both.\"2.0\"]\nhello = \"2.0\"\ntool = \"2.0\"\n"));
    let plan = space.ok(&["plan", "--target", "board", "--set", "both.version=2.0"]).stdout;
    assert!(plan.contains("hello 2.0 x86_64") && plan.contains("tool 2.0 x86_64"), "{plan}");
    let refused = ["both.version=3", "both.arch=aarch64", "hello=1.0", "data_rot=/x", "hello.go=go", "tool.go=og"]
        .map(|set| space.run(&["plan", "--target", "board", "--set", set]));
    let text: Vec<String> = refused.iter().map(|ran| format!("{} {}", ran.status, ran.stderr)).collect();
    insta::assert_snapshot!(text.join("\n"));
}

/// What `list` says about the project with one text of one file replaced.
fn refused(file: &str, from: &str, to: &str) -> String {
    let space = space();
    let text = space.read(file);
    assert!(text.contains(from), "{file} has no {from:?}");
    space.write(file, &text.replacen(from, to, 1));
    let ran = space.run(&["list"]);
    assert_eq!(ran.status, 4, "{}{}", ran.stdout, ran.stderr);
    ran.stderr
}

#[test]
fn wrong_go_recipes_are_refused() {
    let tool = "recipes/tool.toml";
    let texts = [
        refused(tool, "go = \"go\"\n", ""),
        refused(tool, "go = \"go\"\n", "go = \"og\"\n"),
        refused(tool, "import = { \".\" = \"example.org/tool\" }\n", ""),
        refused(tool, "import = { \".\" = \"example.org/tool\" }", "import = { \"..\" = \"example.org/tool\" }"),
        refused(tool, "\"example.org/tool\" }\ntags", "\"example.org/a tool\" }\ntags"),
        refused(tool, "mode = \"gopath\"", "mode = \"modules\""),
        refused(tool, "mode = \"gopath\"", "mode = \"vendor\""),
        refused(tool, "revision = \"abc\"\n", ""),
        refused(tool, "[vars]\ndata_root = \"/var\"\n", ""),
        refused(tool, "data_root = \"/var\"", "data_root = \"/var\"\nother = \"x\""),
        refused(tool, "data_root = \"/var\"", "data_root = \"/var; rm -rf /\""),
        refused(
            tool,
            "[build.go.programs]\n\"out/tool\" = { package = \"example.org/tool/cmd/tool\" }",
            "[build.go.programs]",
        ),
        refused("targets/board.toml", "data_root", "data_rot"),
        refused("toolchains/go.toml", "[go.arch.x86_64]\ngoarch = \"amd64\"", "[go.arch]"),
        refused("toolchains/go.toml", "[archive]", "[debian]\nsuite = \"bookworm\"\npackages = []\n[archive]"),
        refused(
            "recipes/hello.toml",
            "[release.\"1.0\".tree]",
            "[release.\"1.0\"]\ngo = \"go\"\n[release.\"1.0\".tree]",
        ),
    ];
    insta::assert_snapshot!(texts.join("\n"));
}

#[test]
fn a_release_that_is_built_from_debian_needs_its_lock() {
    let space = space();
    let debian = "debian = { suite = \"bookworm\", package = \"tool\" }";
    space.write("recipes/tool.toml", &TOOL.replace("tree = { path = \"src/tool\" }", debian));
    let missing = space.run(&["plan", "tool", "--arch", "x86_64"]);
    let lock = "suite = \"bookworm\"\npackage = \"tool\"\nversion = \"1.1-2\"\nsource = []\n";
    space.write("locks/bookworm/tool.toml", lock);
    let other_version = space.run(&["plan", "tool", "--arch", "x86_64"]);
    space.write("locks/bookworm/tool.toml", &lock.replace("\"tool\"", "\"loot\""));
    let other_package = space.run(&["plan", "tool", "--arch", "x86_64"]);
    space.write("locks/bookworm/tool.toml", &lock.replace("1.1-2", "1.0-2"));
    space.write("locks/bookworm/loot.toml", lock);
    let of_nothing = space.run(&["plan", "tool", "--arch", "x86_64"]);
    let answers = [missing, other_version, other_package, of_nothing];
    let text: Vec<String> = answers.iter().map(|ran| format!("{} {}", ran.status, ran.stderr)).collect();
    insta::assert_snapshot!(text.join("\n"));
}
