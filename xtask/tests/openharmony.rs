//! `openharmony apply`, on small trees written here with the lines that the facts tell of: no real checkout was at hand.

mod support;

use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use fs_err as fs;
use support::Ran;

const IMAGE: &str = "build/ohos/images/build_image.py";
const CONTEXTS: &str = "base/security/selinux/sepolicy/base/system/file_contexts";
const DEFCONFIG: &str = "kernel/linux/config/linux-5.10/arch/arm64/configs/rk3568_standard_defconfig";
const FILES: [&str; 3] = [IMAGE, CONTEXTS, DEFCONFIG];

/// As 3.1 has it, in our own words but for the lines that matter.
const IMAGE_31: &str = "\
import os


def _prepare_userdata(userdata_path):
    os.makedirs(userdata_path)


def _prepare_root(system_path, target_cpu):
    root_dir = os.path.join(os.path.dirname(system_path), 'root')
    _dir_list = [
        'config', 'dev', 'proc', 'sys', 'updater', 'system', 'vendor', 'data',
        'chipset', 'storage', 'mnt', 'tmp', 'sys_prod', 'chip_prod'
    ]
    for _dir_name in _dir_list:
        os.makedirs(os.path.join(root_dir, _dir_name), exist_ok=True)


def _prepare_updater(updater_path):
    _dir_list = ['dev', 'proc', 'sys']
";

const CONTEXTS_31: &str = "\
# root
/       u:object_r:rootfs:s0

/storage      u:object_r:rootfs:s0
/tmp      u:object_r:rootfs:s0
/sys           u:object_r:sys_file:s0

/data/local/tmp(/.*)?                 u:object_r:data_local_tmp:s0
";

const DEFCONFIG_31: &str = "\
#
# Automatically generated file; DO NOT EDIT.
# Linux/arm64 5.10.79 Kernel Configuration
#
CONFIG_NAMESPACES=y
CONFIG_NET=y
# CONFIG_POSIX_MQUEUE is not set
";

/// A checkout of OpenHarmony.
struct Tree {
    dir: tempfile::TempDir,
}

impl Tree {
    fn new(image: &str) -> Self {
        let tree = Self { dir: tempfile::tempdir().unwrap() };
        for (file, text) in [(IMAGE, image), (CONTEXTS, CONTEXTS_31), (DEFCONFIG, DEFCONFIG_31)] {
            tree.write(file, text);
        }
        fs::set_permissions(tree.path(IMAGE), std::fs::Permissions::from_mode(0o755)).unwrap();
        tree
    }

    fn path(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    fn write(&self, file: &str, text: &str) {
        fs::create_dir_all(self.path(file).parent().unwrap()).unwrap();
        fs::write(self.path(file), text).unwrap();
    }

    fn read(&self, file: &str) -> String {
        fs::read_to_string(self.path(file)).unwrap()
    }

    fn all(&self) -> Vec<String> {
        FILES.map(|file| self.read(file)).to_vec()
    }

    /// Every file of the tree, so that nothing is left behind unnoticed.
    fn names(&self) -> Vec<PathBuf> {
        xtask::data::project::walk(self.dir.path()).unwrap()
    }

    fn apply(&self, args: &[&str]) -> Ran {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--project").arg(root).args(["openharmony", "apply", "."]).args(args).current_dir(self.dir.path());
        Ran::of(command.output().unwrap(), self.dir.path())
    }

    fn ok(&self, args: &[&str]) -> String {
        let ran = self.apply(args);
        assert_eq!(ran.status, 0, "{}", ran.stderr);
        ran.stdout
    }
}

#[test]
fn it_is_shown_made_and_taken_back() {
    let tree = Tree::new(IMAGE_31);
    let (before, names) = (tree.all(), tree.names());
    let shown = tree.ok(&[]);
    assert_eq!(tree.all(), before, "a dry run writes nothing");
    insta::assert_snapshot!("shown", shown);
    let written = tree.ok(&["--write"]);
    assert!(written.ends_with("3 files written\n"), "{written}");
    insta::assert_snapshot!("image", tree.read(IMAGE));
    insta::assert_snapshot!("contexts", tree.read(CONTEXTS));
    assert_eq!(fs::metadata(tree.path(IMAGE)).unwrap().permissions().mode() & 0o777, 0o755);

    let after = tree.all();
    let inode = fs::metadata(tree.path(IMAGE)).unwrap().ino();
    assert!(tree.ok(&["--write"]).ends_with("already applied\n"));
    assert_eq!(tree.all(), after);
    assert_eq!(fs::metadata(tree.path(IMAGE)).unwrap().ino(), inode, "it is not even written again");

    assert!(tree.ok(&["--revert"]).contains("nothing was written"));
    assert_eq!(tree.all(), after);
    tree.ok(&["--revert", "--write"]);
    assert_eq!(tree.all(), before, "byte for byte");
    assert!(tree.ok(&["--revert", "--write"]).ends_with("nothing to take back\n"));
    assert_eq!(tree.names(), names);
}

/// What is inserted must be Python still, with the directories in its list.
#[test]
fn the_python_is_python() {
    let tree = Tree::new(IMAGE_31);
    tree.ok(&["--write"]);
    let program = format!(
        "import re,sys\ntext = open({IMAGE:?}).read()\ncompile(text, 'x', 'exec')\n\
         print(eval(re.search(r'_dir_list = (\\[[^]]*\\])', text).group(1)))"
    );
    let output = Command::new("python3").args(["-c", &program]).current_dir(tree.dir.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    assert!(printed.starts_with("['run', 'var', 'opt', 'usr', 'config', 'dev'"), "{printed}");
}

/// The kernel's configuration is good afterwards, for the same command that a person would ask.
#[test]
fn the_configuration_is_good_afterwards() {
    let tree = Tree::new(IMAGE_31);
    let check = || {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--project").arg(root).args(["kernel", "check", "--target", "dayu200"]).arg(tree.path(DEFCONFIG));
        command.output().unwrap().status.code().unwrap()
    };
    assert_eq!(check(), 6);
    tree.ok(&["--write"]);
    assert_eq!(check(), 0);
}

#[test]
fn other_versions_of_the_tree_will_do() {
    // 3.2 and later: types, other directories, more functions.
    let later = IMAGE_31
        .replace("(system_path, target_cpu)", "(system_path: str, target_cpu: str)")
        .replace("'chip_prod'\n", "'chip_prod', 'module_update',\n        'eng_system', 'eng_chipset'\n");
    let tree = Tree::new(&later);
    tree.ok(&["--write"]);
    assert!(tree.read(IMAGE).contains("        'run', 'var', 'opt', 'usr',\n"));
    // 4.0 and later: another folder for the labels.
    let tree = Tree::new(IMAGE_31);
    let moved = "base/security/selinux_adapter/sepolicy/base/system/file_contexts";
    fs::create_dir_all(tree.path(moved).parent().unwrap()).unwrap();
    fs::rename(tree.path(CONTEXTS), tree.path(moved)).unwrap();
    tree.ok(&["--write"]);
    assert!(tree.read(moved).contains("/usr                u:object_r:rootfs:s0\n"));
}

#[test]
fn a_tree_with_the_tutorials_change_is_left_as_it_is() {
    let tree = Tree::new(&IMAGE_31.replace("'chip_prod'\n", "'chip_prod',\n        'run', 'var', 'opt', 'usr'\n"));
    let labels = "/run    u:object_r:rootfs:s0\n/var\tu:object_r:rootfs:s0\n/opt  u:object_r:rootfs:s0\n/usr u:object_r:rootfs:s0\n";
    tree.write(CONTEXTS, &format!("{CONTEXTS_31}{labels}"));
    let (image, contexts) = (tree.read(IMAGE), tree.read(CONTEXTS));
    let shown = tree.ok(&["--write"]);
    assert_eq!(shown.matches("is so, without Slipway's marks").count(), 2, "{shown}");
    assert_eq!((tree.read(IMAGE), tree.read(CONTEXTS)), (image, contexts));
}

/// Line ends and a missing last one come back as they were.
#[test]
fn every_byte_comes_back() {
    let tree = Tree::new(&IMAGE_31.replace('\n', "\r\n"));
    tree.write(DEFCONFIG, DEFCONFIG_31.trim_end());
    let before = tree.all();
    tree.ok(&["--write"]);
    assert_eq!(tree.read(IMAGE).matches('\n').count(), tree.read(IMAGE).matches("\r\n").count());
    tree.ok(&["--revert", "--write"]);
    assert_eq!(tree.all(), before);
}

#[test]
fn what_does_not_fit_is_refused_and_nothing_is_written() {
    type Break = fn(&Tree);
    let breaks: [(&str, Break); 8] = [
        ("no such function", |tree| tree.write(IMAGE, "import os\n")),
        ("two such functions", |tree| tree.write(IMAGE, &IMAGE_31.repeat(2))),
        ("no list", |tree| tree.write(IMAGE, "def _prepare_root(a, b):\n    pass\n")),
        ("no root labels", |tree| tree.write(CONTEXTS, "/dev u:object_r:dev_file:s0\n")),
        ("no defconfig", |tree| fs::remove_file(tree.path(DEFCONFIG)).unwrap()),
        ("a defconfig that is none", |tree| tree.write(DEFCONFIG, "hello\n")),
        ("not UTF-8", |tree| fs::write(tree.path(CONTEXTS), b"\xff\xfe\n").unwrap()),
        ("a link out of the tree", |tree| {
            fs::remove_file(tree.path(IMAGE)).unwrap();
            symlink("/etc/hostname", tree.path(IMAGE)).unwrap();
        }),
    ];
    let mut text = String::new();
    for (name, damage) in breaks {
        let tree = Tree::new(IMAGE_31);
        damage(&tree);
        let bytes = || FILES.map(|file| fs::read(tree.path(file)).ok());
        let before = bytes();
        let ran = tree.apply(&["--write"]);
        assert_ne!(ran.status, 0, "{name}");
        assert!(before == bytes(), "{name}: a file was changed");
        text.push_str(&format!("{name}: {}\n", ran.stderr));
    }
    insta::assert_snapshot!(text);
}

#[test]
fn lines_that_somebody_put_into_a_block_are_not_lost() {
    let tree = Tree::new(IMAGE_31);
    tree.ok(&["--write"]);
    for (file, from, to) in [
        (IMAGE, "'usr',\n", "'usr', 'srv',\n"),
        (CONTEXTS, "# Slipway: end\n", ""),
        (CONTEXTS, "# Slipway: begin", "# Slipway: start"),
        (DEFCONFIG, "# Slipway: end\n", "# Slipway: end\n# Slipway: begin again\n"),
    ] {
        let good = tree.read(file);
        tree.write(file, &good.replacen(from, to, 1));
        let before = tree.all();
        for args in [&["--write"][..], &["--revert", "--write"]] {
            let ran = tree.apply(args);
            assert_eq!(ran.status, 4, "{file} {args:?}: {}", ran.stdout);
            assert!(ran.stderr.contains("by hand"), "{}", ran.stderr);
            assert_eq!(tree.all(), before);
        }
        tree.write(file, &good);
    }
    // Outside the blocks everybody may edit.
    let added = format!("{}# another label\n", tree.read(CONTEXTS));
    tree.write(CONTEXTS, &added);
    assert!(tree.ok(&["--write"]).ends_with("already applied\n"));
    tree.ok(&["--revert", "--write"]);
    assert_eq!(tree.read(CONTEXTS), format!("{CONTEXTS_31}# another label\n"));
}

/// The disk is full, or a folder cannot be written: no file is changed, and none is left behind.
#[test]
fn a_failure_in_the_middle_changes_nothing() {
    let tree = Tree::new(IMAGE_31);
    let (before, names) = (tree.all(), tree.names());
    // Not by modes, which root does not mind: a limit on the size of files, between that of the small ones and the last.
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut command = Command::new("sh");
    command
        .args(["-c", "trap '' XFSZ; ulimit -f 3; exec \"$@\"", "sh", env!("CARGO_BIN_EXE_xtask"), "--project"])
        .arg(root);
    command.args(["openharmony", "apply", ".", "--write"]).current_dir(tree.dir.path());
    let ran = Ran::of(command.output().unwrap(), tree.dir.path());
    assert_eq!(ran.status, 1, "{}{}", ran.stdout, ran.stderr);
    assert_eq!(tree.all(), before);
    assert_eq!(tree.names(), names);
}

#[test]
fn a_target_without_a_tree_is_told() {
    let space = support::Space::hello();
    let ran = space.run(&["openharmony", "apply", ".", "--target", "board"]);
    assert_eq!(ran.status, 4);
    let mut text = ran.stderr;
    for kernel in ["version = \"5.10\"\ntree = \"other-1.0\"", "version = \"five\"", "modules = true"] {
        space.write("targets/board.toml", &format!("{}\n[kernel]\n{kernel}\n", support::BOARD));
        let ran = space.run(&["openharmony", "apply", ".", "--target", "board"]);
        assert_eq!(ran.status, 4);
        text.push_str(&ran.stderr);
    }
    insta::assert_snapshot!(text);
}
