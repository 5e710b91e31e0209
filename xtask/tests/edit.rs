//! `patch`: a source tree that is opened, edited, and saved as a patch that the next build applies.

mod support;

use fs_err as fs;
use support::{Ran, Space};

const OPEN: [&str; 4] = ["patch", "hello", "--arch", "x86_64"];

fn open(space: &Space) -> Ran {
    space.run(&OPEN)
}

fn save(space: &Space, what: &str) -> Ran {
    space.run(&[&OPEN[..], &["--save", what, "--why", "It greets in Chinese.\nFrom: a test."]].concat())
}

fn edit(space: &Space, from: &str, to: &str) {
    let path = "edit/hello-1.0/b/hello.c";
    let text = space.read(path);
    assert!(text.contains(from), "{text}");
    space.write(path, &text.replace(from, to));
}

#[test]
fn edits_become_a_patch_and_the_patch_a_program() {
    let space = Space::hello();
    let opened = open(&space);
    assert_eq!(opened.status, 0, "{}", opened.stderr);
    edit(&space, "hello ", "ni hao ");
    space.write("edit/hello-1.0/b/NEWS", "a new file\n");
    fs::remove_file(space.root().join("edit/hello-1.0/b/COPYING")).unwrap();
    space.write("edit/hello-1.0/b/COPYING", "Do what you like.");
    space.write("edit/hello-1.0/b/hello.c.orig", "left by an editor\n");
    let saved = save(&space, "greet-in-chinese");
    assert_eq!(saved.status, 0, "{}", saved.stderr);
    let patch = space.read("patches/hello/1.0/0001-greet-in-chinese.patch");
    insta::assert_snapshot!(format!("{}{}\n{}{}\n{patch}", opened.stdout, opened.stderr, saved.stdout, saved.stderr));

    let recipe = space.read("recipes/hello.toml").replace("expect = \"hello", "expect = \"ni hao");
    space.write("recipes/hello.toml", &recipe);
    space.ok(&["recipe", "hello", "--arch", "x86_64"]);
}

#[test]
fn a_second_patch_holds_the_second_edit_alone() {
    let space = Space::hello();
    open(&space);
    edit(&space, "hello ", "ni hao ");
    assert_eq!(save(&space, "first").status, 0);
    edit(&space, "VERSION", "VERSION \"!\"");
    assert_eq!(save(&space, "second").status, 0);
    let patch = space.read("patches/hello/1.0/0002-second.patch");
    assert!(patch.contains("-int main(void) { puts(\"ni hao \" VERSION); return 0; }"), "{patch}");
    space.ok(&OPEN);
    assert!(space.read("edit/hello-1.0/b/hello.c").contains("ni hao \" VERSION \"!\""), "both are applied");
}

#[test]
fn edits_are_not_lost_unless_someone_says_so() {
    let space = Space::hello();
    open(&space);
    edit(&space, "hello ", "ni hao ");
    let refused = open(&space);
    assert_eq!(refused.status, 4);
    insta::assert_snapshot!(refused.stderr);
    space.ok(&["clean"]);
    assert!(space.read("edit/hello-1.0/b/hello.c").contains("ni hao"), "`clean` removes results, not work");
    space.ok(&[&OPEN[..], &["--discard"]].concat());
    assert!(!space.read("edit/hello-1.0/b/hello.c").contains("ni hao"));
}

#[test]
fn what_a_patch_cannot_say_is_refused() {
    type Edit = fn(&Space);
    let edits: [(&str, Edit); 6] = [
        ("nothing", |_| {}),
        ("Bad Name", |space| edit(space, "hello ", "hi ")),
        ("binary", |space| space.write("edit/hello-1.0/b/x", "\0")),
        ("empty", |space| space.write("edit/hello-1.0/b/x", "")),
        ("link", |space| std::os::unix::fs::symlink("hello.c", space.root().join("edit/hello-1.0/b/x")).unwrap()),
        ("mode", |space| {
            use std::os::unix::fs::PermissionsExt as _;
            let path = space.root().join("edit/hello-1.0/b/hello.c");
            fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
        }),
    ];
    let space = Space::hello();
    let mut text = format!("not open: {}", save(&space, "x").stderr);
    for (name, edit) in edits {
        let space = Space::hello();
        open(&space);
        edit(&space);
        let ran = save(&space, name);
        assert_eq!(ran.status, 4, "{name}: {}", ran.stderr);
        assert!(!space.exists("patches"), "{name} left a patch");
        text.push_str(&format!("\n{name}: {}", ran.stderr));
    }
    insta::assert_snapshot!(text);
}
