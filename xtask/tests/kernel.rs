//! `kernel`: configurations of every kind, what is missing of them, and why an option is off in a small tree of Kconfig
//! files. `bench/kernel-agreement` and `bench/kernel-explain` hold the same against moby's script and real kernels.

mod support;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::Compression;
use flate2::write::GzEncoder;
use fs_err as fs;
use support::Ran;
use xtask::data::kernel::{Need, Options};
use xtask::data::text::Text;
use xtask::kernel::check::Verdict;
use xtask::kernel::{Board, KernelConfig, check};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn options() -> Options {
    Options::load(&root()).unwrap()
}

/// A folder, and the real program run in it on this repository's data.
struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    fn new() -> Self {
        Self { dir: tempfile::tempdir().unwrap() }
    }

    fn write(&self, path: &str, bytes: impl AsRef<[u8]>) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_xtask"));
        command.arg("--project").arg(root()).args(args).current_dir(self.dir.path());
        command
    }

    fn run(&self, args: &[&str]) -> Ran {
        Ran::of(self.command(args).output().unwrap(), self.dir.path())
    }
}

/// What OpenHarmony 3.1's defconfig for the board says of some options: facts, not the file.
const STOCK: &str = "\
#
# Automatically generated file; DO NOT EDIT.
# Linux/arm64 5.10.79 Kernel Configuration
#
CONFIG_CGROUPS=y
CONFIG_CGROUP_SCHED=y
CONFIG_FAIR_GROUP_SCHED=y
CONFIG_CFS_BANDWIDTH=y
CONFIG_CPUSETS=y
CONFIG_CGROUP_CPUACCT=y
CONFIG_CGROUP_DEVICE=y
CONFIG_CGROUP_FREEZER=y
CONFIG_MEMCG=y
CONFIG_NAMESPACES=y
CONFIG_UTS_NS=y
CONFIG_IPC_NS=y
CONFIG_USER_NS=y
CONFIG_PID_NS=y
CONFIG_NET_NS=y
CONFIG_KEYS=y
CONFIG_SECCOMP=y
CONFIG_SECCOMP_FILTER=y
CONFIG_NETFILTER=y
CONFIG_NETFILTER_ADVANCED=y
CONFIG_NETFILTER_XTABLES=y
CONFIG_IP_NF_IPTABLES=y
CONFIG_IP_NF_MANGLE=y
CONFIG_SYSVIPC=y
CONFIG_COMPAT=y
CONFIG_INET=y
CONFIG_UNIX=y
CONFIG_TMPFS=y
CONFIG_EPOLL=y
CONFIG_FUTEX=y
CONFIG_EVENTFD=y
CONFIG_INOTIFY_USER=y
CONFIG_UNIX98_PTYS=y
CONFIG_F2FS_FS=y
CONFIG_HYPERHOLD_DEBUG=y
# CONFIG_POSIX_MQUEUE is not set
# CONFIG_CGROUP_PIDS is not set
# CONFIG_OVERLAY_FS is not set
";

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn the_stock_kernel_of_the_board() {
    let desk = Desk::new();
    desk.write("stock.config", STOCK);
    let ran = desk.run(&["kernel", "check", "stock.config", "--target", "dayu200"]);
    assert_eq!(ran.status, 6);
    insta::assert_snapshot!(format!("{}{}", ran.stdout, ran.stderr));
}

#[test]
fn the_tutorials_lines_set_traps() {
    let desk = Desk::new();
    let lines = "CONFIG_ANDROID_PARANOID_NETWORK=y\nCONFIG_HYPERHOLD_DEBUG=y\nCONFIG_RT_GROUP_SCHED=y\nCONFIG_AUFS_FS=y\n\
                 CONFIG_IP_NF_MATCH_STATE=y\nCONFIG_IP_NF_MATCH_LIMIT=y\nCONFIG_IP_NF_TARGET_LOG=y\nCONFIG_IP_NF_FTP=y\n\
                 CONFIG_IP_NF_CONNTRACK=y\nCONFIG_IP_NF_IRC=y\nCONFIG_MEMCG_SWAP_ENABLED=y\n";
    desk.write("defconfig", lines);
    let ran = desk.run(&["kernel", "check", "defconfig", "--target", "dayu200"]);
    let warnings: Vec<&str> = ran.stdout.lines().filter(|line| line.starts_with("warning")).collect();
    insta::assert_snapshot!(warnings.join("\n"));
}

#[test]
fn every_form_of_a_configuration_gives_the_same_report() {
    let desk = Desk::new();
    let image = [&b"MZ\x00kernel code"[..], b"IKCFG_ST", &gzip(STOCK.as_bytes()), b"IKCFG_ED", b"more code"].concat();
    desk.write("plain", STOCK);
    desk.write("config.gz", gzip(STOCK.as_bytes()));
    desk.write("Image", &image);
    desk.write("Image.gz", gzip(&image));
    let report = |file: &str| {
        let ran = desk.run(&["--json", "kernel", "check", file, "--target", "dayu200"]);
        assert_eq!(ran.status, 6, "{file}: {}", ran.stdout);
        ran.stdout.lines().next().unwrap().to_owned()
    };
    let plain = report("plain");
    assert!(plain.contains(r#""kind":"full""#) && plain.contains(r#""version":"5.10""#), "{plain}");
    for file in ["config.gz", "Image", "Image.gz"] {
        assert_eq!(report(file), plain, "{file}");
    }
    let mut piped = desk.command(&["--json", "kernel", "check", "-", "--target", "dayu200"]);
    let mut child = piped.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(STOCK.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().next().unwrap(), plain);
}

#[test]
fn what_is_no_configuration_is_refused() {
    let desk = Desk::new();
    desk.write("text", "hello\n");
    desk.write("empty", "");
    desk.write("binary", b"\x7fELF\xff\xfe\x00");
    desk.write("cut.gz", &gzip(STOCK.as_bytes())[..100]);
    desk.write("cut-image", [b"IKCFG_ST", &gzip(STOCK.as_bytes())[..100]].concat());
    desk.write("defconfig", "CONFIG_VETH=y\n");
    let mut text = String::new();
    for file in ["text", "empty", "binary", "cut.gz", "cut-image", "missing"] {
        let ran = desk.run(&["kernel", "check", file, "--target", "dayu200"]);
        assert_eq!(ran.status, if file == "missing" { 1 } else { 4 }, "{file}: {}", ran.stderr);
        text.push_str(&format!("{file}: {}\n", ran.stderr));
    }
    // Nobody knows which kernel this is for.
    text.push_str(&desk.run(&["kernel", "check", "defconfig"]).stderr);
    let wrong = desk.run(&["kernel", "check", "defconfig", "--kernel-version", "five"]);
    assert_eq!(wrong.status, 2);
    text.push_str(&wrong.stderr);
    insta::assert_snapshot!(text);
}

#[test]
fn a_defconfig_may_leave_out_what_is_default() {
    let desk = Desk::new();
    desk.write("defconfig", "CONFIG_MEMCG=y\n");
    let ran = desk.run(&["kernel", "check", "defconfig", "--target", "dayu200"]);
    assert!(ran.stdout.contains("?        CONFIG_NAMESPACES  required, not mentioned"), "{}", ran.stdout);
    // Off by default and selected by nobody: that it is not mentioned is an answer.
    assert!(ran.stdout.contains("MISSING  CONFIG_VETH"), "{}", ran.stdout);
    assert!(ran.stdout.contains("a defconfig leaves out what is default"), "{}", ran.stdout);
}

#[test]
fn the_fragment_makes_any_configuration_good() {
    let desk = Desk::new();
    desk.write("stock", STOCK);
    desk.write("defconfig", "CONFIG_VETH=m\nCONFIG_RT_GROUP_SCHED=y\n");
    for file in ["stock", "defconfig"] {
        for target in ["dayu200", "dayu200-bookworm"] {
            let fragment = desk.run(&["kernel", "fragment", "--target", target, "--for", file]).stdout;
            let before = fs::read_to_string(desk.dir.path().join(file)).unwrap();
            desk.write("both", format!("{before}{fragment}"));
            let ran = desk.run(&["kernel", "check", "both", "--target", target]);
            assert_eq!(ran.status, 0, "{}", ran.stdout);
            let in_doubt = ran.stdout.lines().find(|line| line.starts_with("  ?  ") && !line.contains("optional"));
            assert_eq!(in_doubt, None, "{}", ran.stdout);
            assert!(!ran.stdout.contains("nothing loads it"), "modules are no use on this board: {}", ran.stdout);
            assert!(!ran.stdout.contains("warning  CONFIG_RT_GROUP_SCHED"), "{}", ran.stdout);
            let again = desk.run(&["kernel", "fragment", "--target", target, "--for", "both"]);
            assert_eq!(again.stdout, "# nothing is missing\n");
        }
    }
    insta::assert_snapshot!(desk.run(&["kernel", "fragment", "--target", "dayu200", "--for", "stock"]).stdout);
}

#[test]
fn options_come_and_go_with_the_version() {
    let (options, config) = (options(), KernelConfig::parse(STOCK.as_bytes()).unwrap());
    let board = Board { modules: true, compat: true };
    let has = |version: &str, name: &str| {
        check(&options, &config, version.parse().unwrap(), board).findings().any(|finding| finding.name == name)
    };
    for (name, there, not_there) in [
        ("CGROUP_BPF", "4.15", "4.14"),
        ("NF_NAT_IPV4", "5.1", "5.2"),
        ("NF_NAT_NEEDED", "5.2", "5.3"),
        ("DEVPTS_MULTIPLE_INSTANCES", "4.7", "4.8"),
        ("MEMCG_SWAP_ENABLED", "5.8", "5.9"),
        ("NETPRIO_CGROUP", "3.13", "3.14"),
        ("CGROUP_NET_PRIO", "3.14", "3.13"),
        ("NETFILTER_XTABLES_COMPAT", "5.13", "5.10"),
        ("NETFILTER_XTABLES_LEGACY", "6.17", "6.16"),
    ] {
        assert!(has(there, name) && !has(not_there, name), "{name}");
    }
    let without = check(&options, &config, "5.10".parse().unwrap(), Board { modules: true, compat: false });
    assert!(without.findings().all(|finding| finding.name != "COMPAT"), "only for 32-bit programs");
}

/// A module counts, and on a board that loads none the report says what it is worth.
#[test]
fn modules_count_with_a_remark() {
    let (options, config) =
        (options(), KernelConfig::parse(b"# Linux/arm64 5.10.1 Kernel Configuration\nCONFIG_VETH=m\n").unwrap());
    for modules in [true, false] {
        let report = check(&options, &config, "5.10".parse().unwrap(), Board { modules, compat: false });
        let veth = report.findings().find(|finding| finding.name == "VETH").unwrap();
        assert_eq!((veth.verdict, veth.need), (Verdict::Module, Need::Required));
        assert_eq!(report.text().contains("nothing loads it"), !modules);
    }
}

#[test]
fn a_wrong_list_is_refused() {
    let group = "[[group]]\ntitle = \"t\"\nneed = \"required\"\nsource = \"s\"\n";
    for (text, wanted) in [
        (
            format!("{group}options = [{{ name = \"A\", without = \"x\" }}, {{ name = \"A\", without = \"x\" }}]\n"),
            "`A` is in the list twice",
        ),
        (
            format!("{group}options = [{{ name = \"A\", without = \"x\", since = \"five\" }}]\n"),
            "`five` is not a kernel's version",
        ),
        (
            format!("{group}options = [{{ name = \"A B\", without = \"x\" }}]\n"),
            "`A B` is not the name of a kernel option",
        ),
        (format!("{group}options = [{{ name = \"A\", witout = \"x\" }}]\n"), "unknown field `witout`"),
        (format!("{group}options = []\n").replace("required", "urgent"), "unknown variant `urgent`"),
    ] {
        let error = Options::parse(&Text::new("kernel/options.toml", text)).unwrap_err().to_string();
        assert!(error.contains(wanted) && error.starts_with("kernel/options.toml:"), "{error}");
    }
    // Whatever an option needs must itself be a name that is spelt as the list spells it.
    let options = options();
    assert!(options.all().count() > 120);
}

/// A tree of Kconfig files with every way to keep an option off.
fn tree(desk: &Desk) {
    desk.write("k/Kconfig", "mainmenu \"A kernel\"\nsource \"arch/$(SRCARCH)/Kconfig\"\nsource \"net/Kconfig\"\n");
    desk.write(
        "k/arch/arm64/Kconfig",
        "config ARM64\n\tdef_bool y\n\tselect HAVE_PAGES\n\nconfig MODULES\n\tbool \"Modules\"\n\tmodules\n\n\
         config HAVE_PAGES\n\tbool\n\nconfig PAGES\n\tint \"Pages\"\n\tdefault 4\n\nconfig HAVE_TABLES\n\tbool\n\nconfig AS_HAS_NEW\n\tdef_bool $(as-instr,new)\n\n\
         config NEW\n\tbool \"Newest instructions\"\n\tdepends on AS_HAS_NEW\n",
    );
    desk.write(
        "k/net/Kconfig",
        "menuconfig NET\n\tbool \"Networking\"\n\nif NET\n\nconfig INET\n\tbool \"TCP/IP\"\n\tselect CRYPTO\n\n\
         menu \"Filters\"\n\tdepends on INET && !SLIM\n\n\
         config FILTER\n\ttristate \"Packet filter\"\n\thelp\n\t  config NOT_ONE\n\t  A filter.\n\n\
         config MATCH\n\ttristate \"A match\"\n\tdepends on FILTER\n\tdepends on FAST || SLOW\n\nendmenu\nendif\n\n\
         config SLIM\n\tbool \"Small kernel\"\n\tdefault y\n\n\
         config CRYPTO\n\tbool\n\nconfig LONELY\n\tbool\n\nconfig TABLES\n\tbool \"Tables\"\n\tdepends on HAVE_TABLES\n\n\
         choice\n\tprompt \"Speed\"\n\tdefault MEDIUM\n\nconfig FAST\n\tbool \"fast\"\n\tdepends on NET\n\nconfig MEDIUM\n\tbool \"medium\"\n\n\
         config SLOW\n\tbool \"slow\"\n\nendchoice\n\n\
         config SPEEDY\n\tbool \"Speedy\"\n\tdepends on FAST\n\nconfig RACER\n\tbool \"Racer\"\n\tselect SPEEDY\n",
    );
}

fn explained(desk: &Desk, option: &str) -> Ran {
    desk.run(&["kernel", "explain", option, "--source", "k", "--config", "defconfig"])
}

#[test]
fn why_an_option_is_off() {
    let desk = Desk::new();
    tree(&desk);
    desk.write("defconfig", "CONFIG_MODULES=y\nCONFIG_FILTER=m\n");
    let mut text = String::new();
    for option in [
        "CONFIG_MATCH",
        "FILTER",
        "CRYPTO",
        "LONELY",
        "TABLES",
        "FAST",
        "NET",
        "NEW",
        "ARM64",
        "HAVE_PAGES",
        "PAGES",
        "SPEEDY",
    ] {
        let ran = explained(&desk, option);
        assert_eq!(ran.status, 0, "{option}: {}", ran.stderr);
        text.push_str(&format!("{}\n----\n", ran.stdout));
    }
    insta::assert_snapshot!(text);
}

/// The lines that are printed are put into the file: then the option is on, and with any of them gone it is not.
#[test]
fn the_lines_are_enough_and_none_is_too_many() {
    let desk = Desk::new();
    tree(&desk);
    let config = "CONFIG_MODULES=y\nCONFIG_FILTER=m\n";
    let value = |text: &str, option: &str| {
        desk.write("defconfig", text);
        let ran = desk.run(&["--json", "kernel", "explain", option, "--source", "k", "--config", "defconfig"]);
        let event: serde_json::Value = serde_json::from_str(ran.stdout.lines().last().unwrap()).unwrap();
        let lines = event["lines"].as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned());
        (event["value"].as_str().unwrap().to_owned(), lines.collect::<Vec<_>>())
    };
    for (option, count) in [("MATCH", 6), ("FILTER", 4), ("CRYPTO", 2), ("FAST", 2), ("NET", 1)] {
        let (before, lines) = value(config, option);
        assert_ne!(before, "y");
        assert_eq!(lines.len(), count, "{option}: {lines:?}");
        assert_eq!(value(&format!("{config}{}\n", lines.join("\n")), option).0, "y", "{option}: {lines:?}");
        for left_out in &lines {
            let less: String = lines.iter().filter(|line| *line != left_out).map(|line| format!("{line}\n")).collect();
            assert_ne!(value(&format!("{config}{less}"), option).0, "y", "{option} without {left_out}");
        }
    }
}

#[test]
fn a_wrong_tree_or_option_is_told() {
    let desk = Desk::new();
    tree(&desk);
    desk.write("defconfig", "CONFIG_NET=y\n");
    desk.write("circle/Kconfig", "source \"a/Kconfig\"\n");
    desk.write("circle/arch/arm64/Kconfig", "");
    desk.write("circle/a/Kconfig", "source \"a/Kconfig\"\n");
    desk.write("hole/Kconfig", "\nsource \"gone/Kconfig\"\n");
    desk.write("hole/arch/arm64/Kconfig", "");
    desk.write("broken/Kconfig", "config A\n\tbool \"a\"\n\nthis is no Kconfig\n");
    desk.write("broken/arch/arm64/Kconfig", "");
    desk.write("none/README", "");
    let mut text = String::new();
    for (source, arch) in
        [("circle", "arm64"), ("hole", "arm64"), ("broken", "arm64"), ("none", "arm64"), ("k", "sparc")]
    {
        let ran = desk.run(&["kernel", "explain", "A", "--source", source, "--arch", arch]);
        assert_eq!(ran.status, 4, "{source}: {}", ran.stderr);
        text.push_str(&ran.stderr);
    }
    for option in ["CONFIG_FILTR", "CONFIG_AUFS_FS", "CONFIG_NOT_ONE"] {
        let ran = explained(&desk, option);
        assert_eq!(ran.status, 4, "{option}: {}", ran.stdout);
        text.push_str(&ran.stderr.lines().skip_while(|line| !line.starts_with("error")).collect::<Vec<_>>().join("\n"));
        text.push('\n');
    }
    insta::assert_snapshot!(text);
}
