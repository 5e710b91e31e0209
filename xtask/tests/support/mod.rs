//! A checkout in a temporary folder, and the real program run in it.
#![allow(dead_code)] // Each test file uses its own part of this.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use fs_err as fs;

/// A small project with a store of its own. Removed when dropped.
pub struct Space {
    dir: tempfile::TempDir,
}

impl Space {
    /// An empty project: the folders, and nothing in them.
    pub fn empty() -> Self {
        let space = Self { dir: tempfile::tempdir().unwrap() };
        for dir in ["recipes", "targets", "toolchains"] {
            fs::create_dir_all(space.root().join(dir)).unwrap();
        }
        space
    }

    /// A project with a toolchain of the host, a program in C as a folder, and a target `board`.
    pub fn hello() -> Self {
        let space = Self::empty();
        space.write("toolchains/host.toml", HOST_TOOLCHAIN);
        space.write("recipes/hello.toml", HELLO);
        space
            .write("src/hello/hello.c", "#include <stdio.h>\nint main(void) { puts(\"hello \" VERSION); return 0; }\n");
        space.write("src/hello/COPYING", "Do what you like.\n");
        space.write("targets/board.toml", BOARD);
        space
    }

    pub fn root(&self) -> PathBuf {
        self.dir.path().join("project")
    }

    pub fn cache(&self) -> PathBuf {
        self.dir.path().join("cache")
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    pub fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root().join(path)).unwrap()
    }

    pub fn exists(&self, path: &str) -> bool {
        self.root().join(path).exists()
    }

    /// The real program, in this project, with this store and no other configuration.
    pub fn xtask(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.args(args).current_dir(self.root());
        command.env("SLIPWAY_CACHE", self.cache()).env_remove("SLIPWAY_MIRROR").env_remove("CI");
        if !sandbox_works() {
            command.env("SLIPWAY_SANDBOX", "off");
        }
        command
    }

    /// Runs it and gives the exit status and what was printed.
    pub fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.xtask(args).output().unwrap(), self.dir.path())
    }

    /// Runs it and expects success.
    pub fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.status, 0, "{args:?} failed:\n{}{}", ran.stdout, ran.stderr);
        ran
    }
}

/// Whether this machine allows the sandbox. Where it does not, tests that are not about it build without.
pub fn sandbox_works() -> bool {
    xtask::run::sandbox::set_program(Path::new(env!("CARGO_BIN_EXE_xtask")));
    xtask::run::sandbox::probe().inspect_err(|why| eprintln!("no sandbox here: {why}; {}", why.mend)).is_ok()
}

/// How a run ended; the temporary folder is shown as `SPACE`, so that goldens can be compared.
pub struct Ran {
    pub status: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Ran {
    pub fn of(output: Output, dir: &Path) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).replace(&*dir.to_string_lossy(), "SPACE");
        Self { status: output.status.code().unwrap_or(-1), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

/// The host's own compiler stands in for a cross-compiler: tests must not need one.
pub const HOST_TOOLCHAIN: &str = r#"
summary = "the compiler of the machine that runs the tests"
license = "GPL-3.0-or-later"
homepage = "https://gcc.gnu.org/"

[c]
default = true
libc = "glibc"

[c.host]
install = "apt-get install gcc"
identity = ["cc1"]

[c.tools]
gcc = ["{found}"]
ar = ["ar"]
ranlib = ["ranlib"]
ld = ["ld"]

[c.arch.x86_64]
triple = "x86_64-linux-gnu"
cpu = "x86-64"
rust_target = "x86_64-unknown-linux-gnu"
"#;

pub const HELLO: &str = r#"
summary = "says hello"
license = "0BSD"
homepage = "https://example.org/hello"
license_files = ["COPYING"]

[release."1.0".tree]
path = "src/hello"

[build.cc]
sources = ["hello.c"]
flags = ["-DVERSION=\"{version}\"", "-static", "-s"]
output = "hello"

[files]
"bin/hello" = "hello"

[links]
"bin/hi" = "hello"

[[check]]
run = ["bin/hi"]
expect = "hello 1.0"
"#;

pub const BOARD: &str = r#"
summary = "a board for tests"
arch = "x86_64"

[recipes]
hello = { version = "1.0" }
"#;
