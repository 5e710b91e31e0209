//! What a person sets about a board: variables, templates, schemas, secrets, and the files that come of them.
//!
//! The messages are goldens: `INSTA_UPDATE=always cargo test` writes them anew.

mod support;

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::FromRawFd;
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use support::{BOARD, HELLO, Ran, Space};
use xtask::data::document::{self, Content};
use xtask::data::project::Project;
use xtask::data::schema::Schema;
use xtask::data::template::Format;
use xtask::data::text::Text;
use xtask::data::types::Name;
use xtask::data::variable;
use xtask::ship::secrets::{self, Places, SecretFile};

const BUNDLE: &str = "dist/board/slipway-board-0.1.0.tar.gz";

const VARIABLES: &str = r#"
[root]
type    = "path"
summary = "Where things are."
default = "/data/root"

[node_name]
type    = "hostname"
summary = "The board's name."

[cloud]
type     = "host"
summary  = "The other side."
optional = true
default  = ""

[port]
type    = "port"
summary = "Its port."
default = 10000

[servers]
type    = "ip"
list    = true
summary = "Name servers."
default = ["192.0.2.1", "192.0.2.2"]

[mirrors]
type    = "url"
list    = true
summary = "Mirrors."
default = []

[wanted]
type    = "boolean"
summary = "Whether it is wanted."
default = false

[colour]
type    = "choice"
choices = ["red", "green"]
summary = "A colour."
default = "red"

[token]
type    = "text"
secret  = true
summary = "What opens the door."
"#;

const SCHEMA: &str = r#"{
  "$schema": "https://json-schema.org/draft/2020-12/schema",
  "title": "the file",
  "type": "object",
  "additionalProperties": false,
  "properties": {
    "root": { "type": "string", "not": { "const": "/tmp", "description": "Choose a folder that lasts." } },
    "mirrors": { "type": "array" },
    "wanted": { "type": "boolean" },
    "braces": { "type": "object" }
  }
}
"#;

/// A project whose target fills files in: JSON, YAML that ships only with a cloud, and plain text.
fn space() -> Space {
    let space = Space::hello();
    space.write("board/variables.toml", VARIABLES);
    space.write("board/file.schema.json", SCHEMA);
    space.write(
        "board/file.json",
        "{\n  \"root\": {root},\n  \"mirrors\": {mirrors},\n  \"wanted\": {wanted},\n  \"braces\": {}\n}\n",
    );
    space.write(
        "board/file.yaml",
        "# {untouched}\nserver: \"https://{cloud}:{port}\" # {too}\nport: {port}\ntoken: {token}\n",
    );
    space.write(
        "board/file.conf",
        "node {node_name} of {target} {version}\nservers={servers}\nnameserver {servers*}\nend ${HOME}\n",
    );
    let recipe = HELLO
        .replace("[build.cc]", "[vars]\nroot = \"/default\"\n\n[build.cc]")
        .replace("\"-static\"", "\"-DROOT=\\\"{var.root}\\\"\", \"-static\"");
    space.write("recipes/hello.toml", &recipe);
    let target = format!(
        "{BOARD}\n[vars]\nnode_name = \"board-1\"\n\n[templates]\n\
         \"etc/file.json\" = {{ file = \"board/file.json\", schema = \"board/file.schema.json\" }}\n\
         \"etc/file.yaml\" = {{ file = \"board/file.yaml\", if = \"cloud\" }}\n\
         \"etc/file.conf\" = {{ file = \"board/file.conf\" }}\n"
    );
    space.write("targets/board.toml", &target);
    space
}

/// The content of an entry of the bundle.
fn entry(space: &Space, name: &str) -> Option<String> {
    let file = fs::File::open(space.root().join(BUNDLE)).unwrap();
    let mut tar = tar::Archive::new(flate2::read::GzDecoder::new(file));
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        if entry.path().unwrap() == Path::new("slipway-board-0.1.0").join(name) {
            let mut text = String::new();
            entry.read_to_string(&mut text).unwrap();
            return Some(text);
        }
    }
    None
}

fn sha256(space: &Space) -> String {
    space.read(&format!("{BUNDLE}.sha256")).split(' ').next().unwrap().to_owned()
}

#[test]
fn values_are_written_as_each_format_has_them() {
    let space = space();
    space.ok(&[
        "settings",
        "--target",
        "board",
        "--set",
        "cloud=[2001:db8::7]",
        "--set",
        "mirrors=https://a.example.org,https://b.example.org:5000/x",
        "--set",
        "wanted=true",
        "--files",
        "out",
    ]);
    assert_eq!(
        space.read("out/etc/file.json"),
        "{\n  \"root\": \"/data/root\",\n  \"mirrors\": [\"https://a.example.org\",\"https://b.example.org:5000/x\"],\n  \
         \"wanted\": true,\n  \"braces\": {}\n}\n"
    );
    assert_eq!(
        space.read("out/etc/file.yaml"),
        "# {untouched}\nserver: \"https://[2001:db8::7]:10000\" # {too}\nport: 10000\ntoken: \"@SECRET:token@\"\n"
    );
    assert_eq!(
        space.read("out/etc/file.conf"),
        "node board-1 of board 0.1.0\nservers=192.0.2.1 192.0.2.2\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nend ${HOME}\n"
    );
}

#[test]
fn set_comes_before_the_file_before_the_target_before_the_default() {
    let space = space();
    let target = space.read("targets/board.toml").replace("[vars]\n", "[vars]\ncolour = \"green\"\n");
    space.write("targets/board.toml", &target);
    space.write("board/file.conf", "{node_name} {colour} {root} {servers} {port}\n");
    space.write("mine.toml", "node_name = \"from-file\"\nroot = \"/file\"\nservers = [\"192.0.2.9\"]\n");
    let args = ["settings", "--target", "board", "--settings", "mine.toml", "--set", "root=/set", "--files", "out"];
    space.ok(&args);
    assert_eq!(space.read("out/etc/file.conf"), "from-file green /set 192.0.2.9 10000\n");
}

#[test]
fn the_bundle_holds_the_files_and_remembers_what_made_them() {
    let space = space();
    space.ok(&["bundle", "--target", "board", "--set", "cloud=192.0.2.7"]);
    let first = sha256(&space);
    assert!(entry(&space, "etc/file.json").unwrap().contains("\"/data/root\""));
    let sums = entry(&space, "SHA256SUMS").unwrap();
    for path in ["etc/file.json", "etc/file.yaml", "etc/file.conf"] {
        assert!(sums.lines().any(|line| line.ends_with(&format!("  {path}"))), "{sums}");
    }
    let manifest: serde_json::Value = serde_json::from_str(&entry(&space, "MANIFEST.json").unwrap()).unwrap();
    assert_eq!(manifest["settings"]["root"], "/data/root");
    assert_eq!(manifest["settings"]["servers"], serde_json::json!(["192.0.2.1", "192.0.2.2"]));
    assert_eq!(manifest["settings"].get("token"), None);
    assert_eq!(manifest["secrets"], serde_json::json!(["token"]));
    assert!(manifest["files"].as_array().unwrap().iter().any(|file| file["path"] == "etc/file.yaml"));

    let again = space.ok(&["bundle", "--target", "board", "--set", "cloud=192.0.2.7"]);
    assert!(again.stdout.contains("up to date"), "{}", again.stdout);
    let other = space.ok(&["bundle", "--target", "board", "--set", "cloud=192.0.2.8"]);
    assert!(!other.stdout.contains("up to date"), "{}", other.stdout);
    assert_ne!(first, sha256(&space));
}

#[test]
fn a_file_that_asks_for_a_variable_ships_only_with_it() {
    let space = space();
    space.ok(&["bundle", "--target", "board"]);
    assert_eq!(entry(&space, "etc/file.yaml"), None);
    assert_eq!(secrets::needed_by(&space.root().join(BUNDLE)).unwrap(), BTreeSet::new());
    space.ok(&["bundle", "--target", "board", "--set", "cloud=192.0.2.7"]);
    let token: Name = "token".parse().unwrap();
    assert_eq!(secrets::needed_by(&space.root().join(BUNDLE)).unwrap(), BTreeSet::from([token]));
}

#[test]
fn a_changed_template_is_another_bundle() {
    let space = space();
    space.ok(&["bundle", "--target", "board"]);
    let before = sha256(&space);
    space.write("board/file.conf", "another {node_name}\n");
    space.ok(&["bundle", "--target", "board"]);
    assert_ne!(before, sha256(&space));
}

#[test]
fn one_variable_changes_the_program_and_the_file() {
    let space = space();
    let plan = space.ok(&["plan", "--target", "board", "--set", "root=/mnt/card"]);
    assert!(plan.stdout.contains("/mnt/card"), "{}", plan.stdout);
    space.ok(&["bundle", "--target", "board", "--set", "root=/mnt/card"]);
    assert!(entry(&space, "etc/file.json").unwrap().contains("\"root\": \"/mnt/card\""));
    // The variable's default, not the recipe's: the program and the file must agree.
    let plan = space.ok(&["plan", "--target", "board"]);
    assert!(plan.stdout.contains("/data/root") && !plan.stdout.contains("/default"), "{}", plan.stdout);
}

#[test]
fn every_command_that_takes_set_takes_settings() {
    let space = space();
    space.write("mine.toml", "root = \"/mnt/card\"\n");
    let plan = space.ok(&["plan", "--target", "board", "--settings", "mine.toml"]);
    assert!(plan.stdout.contains("/mnt/card"), "{}", plan.stdout);
    space.ok(&["bundle", "--target", "board", "--settings", "mine.toml"]);
    let why = space.ok(&["why", "hello", "--target", "board", "--settings", "mine.toml"]);
    assert!(!why.stdout.contains("is built anew"), "{}", why.stdout);
    let why = space.ok(&["why", "hello", "--target", "board"]);
    assert!(why.stdout.contains("/mnt/card"), "{}", why.stdout);
    space.ok(&["fetch", "--target", "board", "--settings", "mine.toml"]);
    space.ok(&["mirror", "away", "--target", "board", "--settings", "mine.toml"]);
    // The second build works in another folder, where `mine.toml` is not.
    space.ok(&["repro", "--target", "board", "--settings", "mine.toml"]);
}

#[test]
fn the_settings_are_a_file_that_can_be_edited_and_used() {
    let space = space();
    space.write("board/file.conf", "{colour} {port} [{servers}] {node_name}\n");
    let shown = space.ok(&["settings", "--target", "board", "--set", "servers="]).stdout;
    insta::assert_snapshot!("settings-of-a-board", shown);
    let edited = shown.replace("# colour = \"red\"", "colour = \"green\"").replace("# port = 10000", "port = 7");
    space.write("mine.toml", &edited);
    space.ok(&["settings", "--target", "board", "--settings", "mine.toml", "--files", "out"]);
    assert_eq!(space.read("out/etc/file.conf"), "green 7 [] board-1\n");
    // Files are not written among others.
    let refused = space.run(&["settings", "--target", "board", "--files", "board"]);
    assert_eq!(refused.status, 4, "{}", refused.stderr);
}

/// What is said of `--set`s that are wrong; nothing is written.
#[test]
fn wrong_values_are_refused_with_what_would_be_right() {
    let space = space();
    let mut said = String::new();
    for set in [
        "root=data",
        "root=/data/../etc",
        "root=",
        "root=/a b",
        "root=/tmp",
        "root=/data\nroot=/x",
        "rot=/data",
        "hello=1.0",
        "node_name=",
        "node_name=Board",
        "node_name=a_b",
        "cloud=https://cloud.example.org",
        "cloud=192.0.2.7:10000",
        "cloud=2001:db8::7",
        "cloud=192.0.2.300",
        "port=0",
        "port=65536",
        "port=ten",
        "servers=192.0.2.1,192.0.2.1",
        "servers=192.0.2.1,",
        "servers=dns.example.org",
        "mirrors=mirror.example.org",
        "mirrors=ftp://mirror.example.org",
        "mirrors=https://user:word@mirror.example.org",
        "wanted=yes",
        "colour=gren",
        "token=hunter2",
        "nonsense",
    ] {
        let ran = space.run(&["settings", "--target", "board", "--set", set, "--files", "out"]);
        assert!(matches!(ran.status, 2 | 4), "{set}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("hunter2") && !space.exists("out"), "{}", ran.stderr);
        said.push_str(&format!("--set {set:?}\n{}\n", ran.stderr));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn wrong_settings_files_are_refused_at_their_place() {
    let space = space();
    let mut said = String::new();
    for text in [
        "root = ",
        "root: /data\n",
        "\u{0}\u{1}",
        "root = 5\n",
        "# a comment\nroot = [\"/a\"]\n",
        "port = \"10000\"\n",
        "port = 1.5\n",
        "wanted = \"true\"\n",
        "servers = \"192.0.2.1\"\n",
        "servers = [1]\n",
        "servers = [\"192.0.2.1 192.0.2.2\"]\n",
        "[vars]\nroot = \"/data\"\n",
        "rooot = \"/data\"\n",
        "Root = \"/data\"\n",
        "root = \"/data\"\nroot = \"/other\"\n",
        "token = \"hunter2\"\n",
        "root = \"/data\"\n  \"token\" = hunter2\n",
        "\u{1b}[31mroot = \n",
    ] {
        space.write("mine.toml", text);
        let ran = space.run(&["bundle", "--target", "board", "--settings", "mine.toml"]);
        assert_eq!(ran.status, 4, "{text:?}: {}{}", ran.stdout, ran.stderr);
        assert!(!ran.stderr.contains("hunter2") && !space.exists("dist"), "{}", ran.stderr);
        said.push_str(&format!("{text:?}\n{}\n", ran.stderr));
    }
    for missing in ["there-is-none.toml", "targets"] {
        let ran = space.run(&["bundle", "--target", "board", "--settings", missing]);
        assert_eq!(ran.status, 4, "{}", ran.stderr);
        said.push_str(&ran.stderr);
    }
    insta::assert_snapshot!(said);
}

#[test]
fn wrong_data_is_refused_when_it_is_read() {
    let mut said = String::new();
    for (file, from, to) in [
        ("board/file.conf", "{node_name}", "{nod_name}"),
        ("board/file.conf", "{node_name}", "{node_name*}"),
        ("board/file.json", "\"mirrors\": {mirrors}", "\"mirrors\": \"{mirrors}\""),
        ("board/file.json", "{mirrors}", "[{mirrors*}]"),
        ("board/variables.toml", "type    = \"path\"", "type    = \"pth\""),
        ("board/variables.toml", "default = \"/data/root\"", "default = \"data\""),
        ("board/variables.toml", "default = \"/data/root\"", "default = 5"),
        ("board/variables.toml", "default = \"/data/root\"", "defalt = \"/data\""),
        ("board/variables.toml", "secret  = true", "secret  = true\ndefault = \"hunter2\""),
        ("board/variables.toml", "choices = [\"red\", \"green\"]", ""),
        ("board/variables.toml", "[root]", "[version]"),
        ("board/file.schema.json", "\"type\": \"boolean\"", "\"pattern\": \"x\""),
        ("board/file.schema.json", "\"title\": \"the file\",", ""),
        ("targets/board.toml", "node_name = \"board-1\"", "node_name = \"Board 1\""),
        ("targets/board.toml", "node_name = \"board-1\"", "nodename = \"board-1\""),
        ("targets/board.toml", "node_name = \"board-1\"", "token = \"hunter2\""),
        ("targets/board.toml", "if = \"cloud\"", "if = \"clod\""),
        ("targets/board.toml", "board/file.conf\"", "board/fil.conf\""),
        ("targets/board.toml", "board/file.schema.json", "board/file.schem.json"),
        (
            "targets/board.toml",
            "{ file = \"board/file.conf\" }",
            "{ file = \"board/file.conf\", schema = \"board/file.schema.json\" }",
        ),
        ("targets/board.toml", "\"etc/file.conf\"", "\"bin/hello\""),
    ] {
        let space = space();
        let text = space.read(file);
        assert!(text.contains(from), "{file} has no {from:?}");
        space.write(file, &text.replacen(from, to, 1));
        let ran = space.run(&["list"]);
        assert_eq!(ran.status, 4, "{to}: {}{}", ran.stdout, ran.stderr);
        said.push_str(&format!("{file}: {to}\n{}\n", ran.stderr));
    }
    insta::assert_snapshot!(said);
}

#[test]
fn types_hold_what_they_say() {
    use variable::Kind::*;
    let long = |length: usize| "a".repeat(length);
    for (kind, right, wrong) in [
        (
            Path,
            vec!["/a", "/data/slip-way_1.0/x"],
            vec!["", "/", "a", "//a", "/a/", "/a//b", "/a/./b", "/..", "/a b", "/a\nb", "/a$b"],
        ),
        (Device, vec!["/dev/sda1", "/dev/block/mmcblk0p1"], vec!["/dev", "/dev/", "/data/x", "dev/sda", "/dev/../etc"]),
        (
            Hostname,
            vec!["a", "board-7", "board-7.example.org", "7"],
            vec!["", "-a", "a-", "a..b", ".a", "A", "a_b", "a b"],
        ),
        (Interface, vec!["eth0", "wlan0", "br-1.2_x"], vec!["", ".", "..", "a/b", "a b", "sixteen-letters-"]),
        (
            Host,
            vec!["a", "Cloud.example.org", "192.0.2.7", "[::1]"],
            vec!["", "192.0.2", "::1", "[::1", "[192.0.2.7]", "a:1", "a/b"],
        ),
        (Port, vec!["1", "65535"], vec!["", "0", "65536", "-1", "+1", "01", "1.0", " 1"]),
        (
            Url,
            vec!["http://a", "https://a.example.org:5000/x/", "https://[::1]:5000"],
            vec![
                "",
                "https://",
                "a",
                "https:///x",
                "https://a b",
                "https://a:99999",
                "https://u@a",
                "https://a\"b",
                "file:///x",
            ],
        ),
        (Ip, vec!["192.0.2.7", "::1", "2001:db8::7"], vec!["", "[::1]", "192.0.2", "a", "192.0.2.7/24"]),
        (Socket, vec!["unix:///run/x.sock"], vec!["", "/run/x.sock", "unix://run/x", "tcp://a:1", "unix:///"]),
        (Endpoint, vec!["a:1", "192.0.2.7:10000", "[::1]:2"], vec!["", "a", ":1", "a:", "a:0", "::1:2x"]),
        (Listener, vec!["tcp://127.0.0.1:2376"], vec!["", "tcp://", "tcp://:2376", "127.0.0.1:2376", "unix:///x"]),
        (Image, vec!["a", "kubeedge/pause:3.1"], vec!["", "A", "a:", "a@sha256:1"]),
        (Name, vec!["memory", "net_cls"], vec!["", "1", "Net", "a b"]),
        (
            Rule,
            vec!["1:main", "100:254"],
            vec!["", "main", "0:main", "1:", ":main", "1:Main", "1:main:2", "01:main", "1:0", "x:main"],
        ),
        (Boolean, vec!["true", "false"], vec!["", "yes", "True", "1"]),
        (
            Text,
            vec!["3.1", "OpenHarmony 3.1 (rc)", "Ünïcode"],
            vec!["", " a", "a ", "a\nb", "a\"b", "a'b", "a$b", "a`b", "a\\b", "@SECRET:x@"],
        ),
        (Word, vec!["a", "/var", "a=b"], vec!["", "a b", "a;b", "$a"]),
    ] {
        right.iter().for_each(|text| assert!(kind.holds(text), "{kind:?} refuses {text:?}"));
        wrong.iter().for_each(|text| assert!(!kind.holds(text), "{kind:?} takes {text:?}"));
    }
    assert!(Hostname.holds(&long(63)) && !Hostname.holds(&long(64)));
}

#[test]
fn what_is_in_a_value_is_not_filled_in_again() {
    let space = space();
    let variables =
        space.read("board/variables.toml") + "[words]\ntype = \"text\"\nsummary = \"Words.\"\ndefault = \"x\"\n";
    space.write("board/variables.toml", &variables);
    space.write("board/file.conf", "{node_name} {words} {servers}\nnameserver {servers*} {words}\n");
    let words = "words={servers*} {node_name}";
    space.ok(&["settings", "--target", "board", "--set", words, "--files", "out"]);
    assert_eq!(
        space.read("out/etc/file.conf"),
        "board-1 {servers*} {node_name} 192.0.2.1 192.0.2.2\nnameserver 192.0.2.1 {servers*} {node_name}\n\
         nameserver 192.0.2.2 {servers*} {node_name}\n"
    );
}

#[test]
fn what_nobody_has_set_is_asked_for() {
    let space = space();
    let target = space.read("targets/board.toml").replace("node_name = \"board-1\"\n", "");
    space.write("targets/board.toml", &target);
    let ran = space.run(&["bundle", "--target", "board"]);
    assert_eq!(ran.status, 4);
    assert!(!space.exists("dist"));
    insta::assert_snapshot!(ran.stderr);
    space.ok(&["plan", "--target", "board"]);
    space.ok(&["bundle", "--target", "board", "--set", "node_name=b"]);
}

// This repository's own files.

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn xtask(args: &[&str]) -> Ran {
    let output = Command::new(env!("CARGO_BIN_EXE_xtask")).args(args).current_dir(root()).output().unwrap();
    Ran::of(output, Path::new("/nonexistent"))
}

/// The files of a target, below a folder that is gone when this is dropped.
fn files_of(target: &str, sets: &[&str]) -> tempfile::TempDir {
    let out = tempfile::tempdir().unwrap();
    let mut args = vec!["settings", "--target", target, "--files", out.path().to_str().unwrap()];
    sets.iter().for_each(|set| args.extend(["--set", set]));
    let ran = xtask(&args);
    assert_eq!(ran.status, 0, "{}", ran.stderr);
    out
}

#[test]
fn the_files_of_the_boards() {
    for target in Project::load(&root()).unwrap().targets.keys() {
        // A target with a cloud side has its address as a variable.
        let out =
            files_of(target.as_str(), &["cloud_address=192.0.2.7", "registry_mirrors=https://mirror.example.org"]);
        let mut all = String::new();
        for path in xtask::data::project::walk(out.path()).unwrap() {
            let text = fs::read_to_string(out.path().join(&path)).unwrap();
            all.push_str(&format!("== {}\n{text}", path.display()));
        }
        insta::assert_snapshot!(format!("files-{target}"), all);
        insta::assert_snapshot!(format!("settings-{target}"), xtask(&["settings", "--target", target.as_str()]).stdout);
    }
}

/// The board's script reads these names; the list is the contract between the two.
#[test]
fn the_settings_file_has_what_the_script_reads() {
    for target in ["dayu200", "dayu200-bookworm"] {
        let out = files_of(target, &[]);
        let text = fs::read_to_string(out.path().join("etc/slipway/settings")).unwrap();
        let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let names: BTreeSet<&str> = lines.iter().map(|line| line.split_once('=').unwrap().0).collect();
        for name in "board_dir data_root data_device data_filesystem bind_dirs cgroup_controllers node_name interface \
                     cloud_address runtime_endpoint registry_mirrors nameservers routing_rules target version"
            .split_whitespace()
        {
            assert!(names.contains(name), "{target}: no {name} in\n{text}");
        }
        assert!(
            lines.iter().all(|line| !line.contains(['"', '\'', '\\', '$', '`', '\t']) && !line.ends_with(' ')),
            "{text}"
        );
    }
}

/// A controller that is asked for is one that cgroups.json knows.
#[test]
fn the_controllers_are_those_of_cgroups_json() {
    let out = files_of("dayu200", &[]);
    let json: serde_json::Value =
        serde_json::from_slice(&fs::read(out.path().join("etc/cgroups.json")).unwrap()).unwrap();
    let of_json: BTreeSet<&str> =
        json["Cgroups"].as_array().unwrap().iter().map(|group| group["Controller"].as_str().unwrap()).collect();
    let settings = fs::read_to_string(out.path().join("etc/slipway/settings")).unwrap();
    let line = settings.lines().find_map(|line| line.strip_prefix("cgroup_controllers=")).unwrap();
    assert_eq!(line.split(' ').collect::<BTreeSet<_>>(), of_json);
}

/// What is wrong in a real file, by its real schema.
fn refused(file: &str, schema: &str, from: &str, to: &str) -> String {
    let out = files_of("dayu200", &["cloud_address=192.0.2.7"]);
    let filled = fs::read_to_string(out.path().join(file)).unwrap();
    assert!(filled.contains(from), "{file} has no {from:?}:\n{filled}");
    let path = format!("board/schema/{schema}.schema.json");
    let schema = Schema::parse(&Text::new(path.as_str(), fs::read_to_string(root().join(&path)).unwrap())).unwrap();
    let format = if file.ends_with(".yaml") { Format::Yaml } else { Format::Json };
    let check = |text: &Text| match document::parse(text, format) {
        Ok(node) => schema.check(&node).map_err(|broken| broken.failure(text).to_string()),
        Err(error) => Err(error.to_string()),
    };
    check(&Text::new(file, filled.as_str())).expect("the file itself is right");
    let text = Text::new(file, filled.replacen(from, to, 1));
    check(&text).expect_err(&format!("{file} with {to:?} is taken"))
}

#[test]
fn schemas_refuse_what_would_not_work() {
    let mut said = String::new();
    let daemon = ("etc/docker/daemon.json", "daemon");
    let edge = ("etc/kubeedge/edgecore.yaml", "edgecore");
    let groups = ("etc/cgroups.json", "cgroups");
    let init = ("etc/init/slipway.cfg", "init");
    let socket = "[\"unix:///var/run/docker.sock\"]";
    for ((file, schema), from, to) in [
        (daemon, socket, "[\"tcp://0.0.0.0:2375\", \"unix:///var/run/docker.sock\"]"),
        (
            daemon,
            socket,
            "[\"tcp://0.0.0.0:2376\"],\n  \"tlsverify\": false, \"tlscacert\": \"/a\", \"tlscert\": \"/b\", \"tlskey\": \"/c\"",
        ),
        (
            daemon,
            socket,
            "[\"tcp://0.0.0.0:2376\"],\n  \"tlsverify\": true, \"tlscacert\": \"/a\", \"tlscert\": \"b\", \"tlskey\": \"/c\"",
        ),
        (daemon, socket, "[\"0.0.0.0:2375\"]"),
        (daemon, socket, "[]"),
        (daemon, "\"/mnt/f2fs\"", "\"mnt/f2fs\""),
        (daemon, "\"/mnt/f2fs\"", "\"/\""),
        (daemon, "\"data-root\"", "\"data_root\""),
        (daemon, "\"overlay2\"", "\"aufs\""),
        (daemon, "cgroupfs", "systemd"),
        (daemon, "\"3\" }", "3 }"),
        (daemon, "\"experimental\": false", "\"experimental\": \"false\""),
        (daemon, "\"registry-mirrors\": []", "\"registry-mirrors\": [\"mirror.example.org\"]"),
        (daemon, "\"experimental\": false", "\"experimental\": false,"),
        (daemon, "{", "["),
        (daemon, "\"experimental\"", "\"log-driver\""),
        (edge, "kind: EdgeCore", "kind: CloudCore"),
        (edge, "  edgeHub:", "  edgehub:"),
        (edge, "hostnameOverride: \"dayu200\"", "hostnameOverride: \"\""),
        (edge, "heartbeat: 15", "heartbeat: \"15\""),
        (edge, "token: \"@SECRET:cloud_token@\"", "token: hunter2"),
        (edge, "192.0.2.7:10000", ":10000"),
        (edge, "https://192.0.2.7", "192.0.2.7"),
        (edge, "cgroupDriver: cgroupfs", "cgroupDriver: systemd"),
        (edge, "unix:///var/run/docker.sock", "tcp://0.0.0.0:2375"),
        (edge, "    enable: true", "     enable: true"),
        (edge, "kind: EdgeCore", "kind: &x EdgeCore\nother: *x"),
        (edge, "kind: EdgeCore", "kind: EdgeCore\nkind: EdgeCore"),
        (edge, "mqttMode: 2", "mqttMode: 3"),
        (groups, "\"/dev/blkio\"", "\"/sys/blkio\""),
        (groups, "\"0755\"", "\"755\""),
        (groups, "\"Controller\": \"cpu\",", ""),
        (init, "\"once\": 1", "\"once\": true"),
        (init, "\"services\"", "\"service\""),
        (init, "\"name\": \"slipway\",", ""),
    ] {
        said.push_str(&format!("{to:?} for {from:?}\n{}\n\n", refused(file, schema, from, to)));
    }
    assert!(!said.replace("\"token: hunter2\" for", "").contains("hunter2"), "{said}");
    insta::assert_snapshot!(said);
}

#[test]
fn docker_may_listen_on_tcp_with_certificates() {
    let text = fs::read_to_string(root().join("board/schema/daemon.schema.json")).unwrap();
    let schema = Schema::parse(&Text::new("daemon", text)).unwrap();
    let good = r#"{"data-root": "/data/docker", "storage-driver": "overlay2", "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "hosts": ["unix:///var/run/docker.sock", "tcp://192.0.2.7:2376"], "tlsverify": true,
        "tlscacert": "/data/ca.pem", "tlscert": "/data/cert.pem", "tlskey": "/data/key.pem"}"#;
    let node = document::parse(&Text::new("good", good), Format::Json).unwrap();
    assert_eq!(schema.check(&node), Ok(()));
}

/// Each variable is used: by a template, or by a recipe.
#[test]
fn no_variable_is_declared_in_vain() {
    let project = Project::load(&root()).unwrap();
    let used: BTreeSet<Name> =
        project.targets.values().flat_map(|target| project.variables_of(target).into_keys()).collect();
    let declared: BTreeSet<Name> = project.variables.keys().cloned().collect();
    assert_eq!(declared.difference(&used).collect::<Vec<_>>(), Vec::<&Name>::new());
}

/// The table of docs/settings.md is board/variables.toml, and every type is explained.
#[test]
fn the_settings_reference_is_true() {
    let text = fs::read_to_string(root().join("docs/settings.md")).unwrap();
    let project = Project::load(&root()).unwrap();
    let mut table = String::from("| variable | type | default | what |\n|---|---|---|---|\n");
    for variable in project.variables.values() {
        let default = match &variable.default {
            None if variable.secret => "asked for".to_owned(),
            None => "the target says".to_owned(),
            Some(value) if value.is_empty() => "empty".to_owned(),
            Some(value) => format!("`{value}`"),
        };
        let kind = xtask::commands::settings::type_of(variable);
        table.push_str(&format!("| `{}` | {kind} | {default} | {} |\n", variable.name, variable.summary));
    }
    assert!(text.contains(&table), "docs/settings.md lacks this table:\n{table}");
    for kind in variable::Kind::ALL {
        assert!(
            text.contains(&format!("| `{}` |", kind.name())),
            "docs/settings.md does not explain `{}`",
            kind.name()
        );
    }
}

// Secrets.

fn needed() -> BTreeSet<Name> {
    BTreeSet::from(["cloud_token".parse().unwrap()])
}

fn nothing(_: &str) -> Option<OsString> {
    None
}

fn gathered(places: &Places<'_>) -> Result<String, String> {
    let all = secrets::gather(&needed(), places).map_err(|error| xtask::error::render(&error))?;
    Ok(all.values().next().unwrap().reveal().to_owned())
}

#[test]
fn a_secret_comes_from_a_file_before_the_environment() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("token");
    fs::write(&file, "abc.def\n").unwrap();
    let files: [SecretFile; 1] = [format!("cloud_token={}", file.display()).parse().unwrap()];
    let environment = |name: &str| (name == "SLIPWAY_SECRET_CLOUD_TOKEN").then(|| OsString::from("other"));
    assert_eq!(
        gathered(&Places { files: &files, environment: &environment, kept: &BTreeSet::new(), terminal: None }),
        Ok("abc.def".to_owned())
    );
    assert_eq!(
        gathered(&Places { files: &[], environment: &environment, kept: &BTreeSet::new(), terminal: None }),
        Ok("other".to_owned())
    );
}

#[test]
fn what_the_board_keeps_is_asked_of_nobody() {
    let (_person, program) = terminal();
    let places = Places { files: &[], environment: &nothing, kept: &needed(), terminal: Some(program) };
    assert!(secrets::gather(&needed(), &places).unwrap().is_empty());
    let environment = |_: &str| Some(OsString::from("new"));
    let places = Places { files: &[], environment: &environment, kept: &needed(), terminal: None };
    assert_eq!(gathered(&places), Ok("new".to_owned()));
}

#[test]
fn a_secret_shows_itself_to_nobody() {
    let environment = |_: &str| Some(OsString::from("hunter2"));
    let all = secrets::gather(
        &needed(),
        &Places { files: &[], environment: &environment, kept: &BTreeSet::new(), terminal: None },
    )
    .unwrap();
    assert!(!format!("{all:?}").contains("hunter2"));
    let file = all.values().next().unwrap().to_file().unwrap();
    use std::os::unix::fs::PermissionsExt;
    assert_eq!(fs::metadata(file.path()).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(file.path()).unwrap(), "hunter2");
    let path = file.path().to_owned();
    drop(file);
    assert!(!path.exists());
}

#[test]
fn wrong_secrets_are_refused_without_showing_them() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::write(path("two-lines"), "hunter2\nhunter2\n").unwrap();
    fs::write(path("empty"), "\n").unwrap();
    fs::write(path("quotes"), "hunter2\"").unwrap();
    fs::write(path("bytes"), [0xff, 0xfe, 0x00]).unwrap();
    fs::write(path("huge"), "x".repeat(70_000)).unwrap();
    fs::create_dir(path("folder")).unwrap();
    let mut said = String::new();
    for name in ["two-lines", "empty", "quotes", "bytes", "huge", "folder", "not-there"] {
        let files = [SecretFile { name: "cloud_token".parse().unwrap(), file: path(name) }];
        let places = Places { files: &files, environment: &nothing, kept: &BTreeSet::new(), terminal: None };
        said.push_str(&gathered(&places).expect_err(name));
    }
    let environment = |_: &str| Some(OsString::new());
    said.push_str(
        &gathered(&Places { files: &[], environment: &environment, kept: &BTreeSet::new(), terminal: None })
            .unwrap_err(),
    );
    said.push_str(
        &gathered(&Places { files: &[], environment: &nothing, kept: &BTreeSet::new(), terminal: None }).unwrap_err(),
    );
    let stray = [SecretFile { name: "cloud_tokn".parse().unwrap(), file: path("empty") }];
    said.push_str(
        &gathered(&Places { files: &stray, environment: &nothing, kept: &BTreeSet::new(), terminal: None })
            .unwrap_err(),
    );
    said.push_str(&"cloud_token:hunter2".parse::<SecretFile>().unwrap_err().to_string());
    assert!(!said.contains("hunter2"), "{said}");
    insta::assert_snapshot!(said.replace(&*dir.path().to_string_lossy(), "DIR"));
}

/// Two ends of a terminal: a person's, and the program's.
fn terminal() -> (File, File) {
    let (mut person, mut program) = (-1, -1);
    // SAFETY: openpty writes two descriptors into the two places, which are ours.
    let result = unsafe {
        libc::openpty(&mut person, &mut program, std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut())
    };
    assert_eq!(result, 0);
    // SAFETY: openpty gave both to us and to nobody else.
    unsafe { (File::from_raw_fd(person), File::from_raw_fd(program)) }
}

#[test]
fn a_person_is_asked_and_what_they_type_is_not_shown() {
    let (mut person, program) = terminal();
    let again = program.try_clone().unwrap();
    let asking = std::thread::spawn(move || {
        gathered(&Places { files: &[], environment: &nothing, kept: &BTreeSet::new(), terminal: Some(program) })
    });
    let mut seen = String::new();
    let read_until = |person: &mut File, seen: &mut String, end: &str| {
        while !seen.ends_with(end) {
            let mut byte = [0];
            person.read_exact(&mut byte).unwrap();
            seen.push(byte[0] as char);
        }
    };
    // The question comes when the echo is off.
    read_until(&mut person, &mut seen, ": ");
    person.write_all(b"abc.def\n").unwrap();
    assert_eq!(asking.join().unwrap(), Ok("abc.def".to_owned()));
    read_until(&mut person, &mut seen, "\n");
    assert_eq!(seen, "cloud_token (it is not shown): \r\n");
    // The terminal is as it was.
    let modes = rustix::termios::tcgetattr(&again).unwrap();
    assert!(modes.local_modes.contains(rustix::termios::LocalModes::ECHO));
}

#[test]
fn a_terminal_that_ends_gives_no_secret() {
    let (mut person, program) = terminal();
    // Ctrl-D at the beginning of a line.
    let asking = std::thread::spawn(move || {
        gathered(&Places { files: &[], environment: &nothing, kept: &BTreeSet::new(), terminal: Some(program) })
    });
    let mut seen = Vec::new();
    while !seen.ends_with(b": ") {
        let mut byte = [0];
        person.read_exact(&mut byte).unwrap();
        seen.push(byte[0]);
    }
    person.write_all(b"\x04").unwrap();
    assert!(asking.join().unwrap().unwrap_err().contains("SLIPWAY_SECRET_CLOUD_TOKEN"));
}

// The cloud's side.

#[test]
fn the_pod_of_the_cloud_is_yaml_for_this_bundle() {
    let text = fs::read_to_string(root().join("cloud/hello.yaml")).unwrap();
    let pod = document::parse(&Text::new("cloud/hello.yaml", text), Format::Yaml).unwrap();
    let spec = pod.get("spec").unwrap();
    let Content::List(containers) = &spec.get("containers").unwrap().content else { panic!("no list") };
    let Content::Text(image) = &containers[0].get("image").unwrap().content else { panic!("no text") };
    let target = &Project::load(&root()).unwrap().targets["dayu200"];
    assert!(
        target
            .images
            .values()
            .any(|known| known.name.as_str() == format!("{image}:latest") || known.name.as_str() == image)
    );
    assert_eq!(containers[0].get("imagePullPolicy").unwrap().content, Content::Text("Never".to_owned()));
}

fn cloud(script: &str, args: &[&str]) -> Ran {
    let output = Command::new("sh").arg(root().join("cloud").join(script)).args(args).output().unwrap();
    Ran::of(output, &root())
}

#[test]
fn the_cloud_scripts_say_what_they_would_do_and_do_nothing() {
    let setup = cloud("setup.sh", &["--dry-run", "--address", "192.0.2.7", "--keadm", "/opt/keadm"]);
    assert_eq!(setup.status, 0, "{}{}", setup.stdout, setup.stderr);
    insta::assert_snapshot!("cloud-setup", setup.stdout);
    let verify = cloud("verify.sh", &["--dry-run", "--node", "dayu200"]);
    assert_eq!(verify.status, 0, "{}{}", verify.stdout, verify.stderr);
    insta::assert_snapshot!("cloud-verify", verify.stdout);
}

#[test]
fn the_cloud_scripts_refuse_wrong_usage() {
    let mut said = String::new();
    for (script, args) in [
        ("setup.sh", &["--dry-run"][..]),
        ("setup.sh", &["--dry-run", "--address", "cloud name"]),
        ("setup.sh", &["--adress", "192.0.2.7"]),
        ("setup.sh", &["--address"]),
        ("verify.sh", &["--dry-run"]),
        ("verify.sh", &["--dry-run", "--node", "Board;1"]),
    ] {
        let ran = cloud(script, args);
        assert_eq!(ran.status, 2, "{script} {args:?}: {}{}", ran.stdout, ran.stderr);
        said.push_str(&format!("{script} {args:?}\n{}\n", ran.stderr));
    }
    insta::assert_snapshot!(said);
}

/// A kubectl that answers as it is told, and keeps what it was asked.
fn verified(ready: bool, phase: &str) -> (Ran, String) {
    let dir = tempfile::tempdir().unwrap();
    let (kubectl, asked) = (dir.path().join("kubectl"), dir.path().join("asked"));
    let script = format!(
        "#!/bin/sh\necho \"$*\" >>{}\ncase $* in\n*' wait '*) exit {} ;;\n*' get pod '*) printf {phase} ;;\n\
         *' apply '*) cat >>{} ;;\nesac\n",
        asked.display(),
        i32::from(!ready),
        asked.display(),
    );
    fs::write(&kubectl, script).unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&kubectl, std::fs::Permissions::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let output = Command::new("sh")
        .arg(root().join("cloud/verify.sh"))
        .args(["--node", "board-7", "--kube-config", "/k"])
        .env("PATH", path)
        .output()
        .unwrap();
    (Ran::of(output, dir.path()), fs::read_to_string(asked).unwrap())
}

#[test]
fn a_board_is_verified_by_a_pod_that_succeeds_on_it() {
    let (ran, asked) = verified(true, "Succeeded");
    assert_eq!(ran.status, 0, "{}{}", ran.stdout, ran.stderr);
    assert!(
        asked.contains("kubernetes.io/hostname: board-7") && asked.contains("name: slipway-hello-board-7"),
        "{asked}"
    );
    let (ran, _) = verified(true, "Failed");
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("the pod failed on board-7"), "{}", ran.stderr);
    let (ran, asked) = verified(false, "Succeeded");
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    assert!(ran.stderr.contains("is not a Ready node") && !asked.contains("apply"), "{}{asked}", ran.stderr);
}

#[test]
fn shellcheck_has_nothing_to_say_of_the_cloud_scripts() {
    for script in ["setup.sh", "verify.sh"] {
        let output =
            Command::new("shellcheck").args(["-s", "sh"]).arg(root().join("cloud").join(script)).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    }
}
