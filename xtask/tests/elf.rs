//! ELF files made byte by byte, each with one thing wrong with it.

use fs_err as fs;
use xtask::data::types::Arch;
use xtask::error::{Kind, exit_code};
use xtask::run::elf::check;

const LOAD: u32 = 1;
const DYNAMIC: u32 = 2;
const INTERP: u32 = 3;
const STACK: u32 = 0x6474_e551;
const R: u32 = 4;
const W: u32 = 2;
const X: u32 = 1;

/// A program that passes, as it is before it becomes bytes.
struct Elf {
    is_64: bool,
    machine: u16,
    kind: u16,
    flags: u32,
    /// Type, flags, content.
    segments: Vec<(u32, u32, Vec<u8>)>,
    /// Name, type, content.
    sections: Vec<(&'static str, u32, Vec<u8>)>,
}

impl Elf {
    fn aarch64() -> Self {
        Self { is_64: true, machine: 183, flags: 0, ..Self::armhf() }
    }

    fn armhf() -> Self {
        Self {
            is_64: false,
            machine: 40,
            kind: 2,
            flags: 0x0500_0400,
            segments: vec![
                (LOAD, R | X, b"code".to_vec()),
                (LOAD, R | W, b"data".to_vec()),
                (STACK, R | W, Vec::new()),
            ],
            sections: vec![("", 0, Vec::new()), (".rodata", 1, b"Hello\0".to_vec())],
        }
    }

    fn with_segment(mut self, kind: u32, flags: u32, content: &[u8]) -> Self {
        self.segments.push((kind, flags, content.to_vec()));
        self
    }

    fn with_section(mut self, name: &'static str, kind: u32, content: &[u8]) -> Self {
        self.sections.push((name, kind, content.to_vec()));
        self
    }

    /// A number as wide as an address.
    fn word(&self, value: usize) -> Vec<u8> {
        if self.is_64 { (value as u64).to_le_bytes().to_vec() } else { (value as u32).to_le_bytes().to_vec() }
    }

    fn header_sizes(&self) -> (usize, usize, usize) {
        if self.is_64 { (64, 56, 64) } else { (52, 32, 40) }
    }

    /// The header, the program headers, all contents, the section headers.
    fn bytes(mut self) -> Vec<u8> {
        let mut names = Vec::new();
        self.sections.push((".shstrtab", 3, Vec::new()));
        let offsets: Vec<usize> = self.sections.iter().map(|section| push_name(&mut names, section.0)).collect();
        self.sections.last_mut().unwrap().2 = names;

        let (size, segment_size, _) = self.header_sizes();
        let mut at = size + self.segments.len() * segment_size;
        let (mut headers, mut contents, mut table) = (Vec::new(), Vec::new(), Vec::new());
        for (kind, flags, content) in &self.segments {
            headers.extend(self.segment(*kind, *flags, at, content.len()));
            at += place(&mut contents, content);
        }
        for ((_, kind, content), name) in self.sections.iter().zip(offsets) {
            table.extend(self.section(name, *kind, at, content.len()));
            at += place(&mut contents, content);
        }
        [self.header(at), headers, contents, table].concat()
    }

    fn header(&self, sections_at: usize) -> Vec<u8> {
        let (size, segment_size, section_size) = self.header_sizes();
        let half = |value: usize| (value as u16).to_le_bytes().to_vec();
        let mut ident = b"\x7fELF\x01\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        ident[4] = if self.is_64 { 2 } else { 1 };
        let addresses = [self.word(0x1000), self.word(size), self.word(sections_at)].concat();
        let counts =
            [size, segment_size, self.segments.len(), section_size, self.sections.len(), self.sections.len() - 1];
        let kind = [half(self.kind.into()), half(self.machine.into()), 1_u32.to_le_bytes().to_vec()].concat();
        [ident, kind, addresses, self.flags.to_le_bytes().to_vec(), counts.map(half).concat()].concat()
    }

    fn segment(&self, kind: u32, flags: u32, at: usize, length: usize) -> Vec<u8> {
        // Loaded at the address that is the offset: what DT_STRTAB says can be found.
        let [at, length, align] = [at, length, 8].map(|value| self.word(value));
        let (kind, flags) = (kind.to_le_bytes().to_vec(), flags.to_le_bytes().to_vec());
        if self.is_64 {
            [kind, flags, at.clone(), at.clone(), at, length.clone(), length, align].concat()
        } else {
            [kind, at.clone(), at.clone(), at, length.clone(), length, flags, align].concat()
        }
    }

    fn section(&self, name: usize, kind: u32, at: usize, length: usize) -> Vec<u8> {
        let [flags, address, at, length, align, entry] = [0, 0, at, length, 1, 0].map(|value| self.word(value));
        let name = (name as u32).to_le_bytes().to_vec();
        [name, kind.to_le_bytes().to_vec(), flags, address, at, length, vec![0; 8], align, entry].concat()
    }
}

fn push_name(names: &mut Vec<u8>, name: &str) -> usize {
    let at = names.len();
    names.extend_from_slice(name.as_bytes());
    names.push(0);
    at
}

/// Appends `content`, padded to 8 bytes; gives what it takes.
fn place(contents: &mut Vec<u8>, content: &[u8]) -> usize {
    let before = contents.len();
    contents.extend_from_slice(content);
    contents.resize(before + content.len().next_multiple_of(8), 0);
    contents.len() - before
}

fn check_bytes(bytes: &[u8], arch: Arch, forbidden: &[(&str, &[u8])]) -> anyhow::Result<bool> {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("x"), bytes).unwrap();
    check(&dir.path().join("x"), "bin/x", arch, forbidden)
}

/// Asserts that exactly these rules are broken.
#[track_caller]
fn refused(elf: Elf, arch: Arch, rules: &[&str]) {
    let error = check_bytes(&elf.bytes(), arch, &[]).expect_err("the file passed");
    assert_eq!(exit_code(&error), Kind::Check.exit_code());
    let text = error.to_string();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines[0], "bin/x must not ship:");
    let found: Vec<&str> = lines[1..].iter().map(|line| line.trim_start()).collect();
    assert_eq!(found, rules);
}

#[test]
fn good_programs_pass() {
    assert!(check_bytes(&Elf::aarch64().bytes(), Arch::Aarch64, &[]).unwrap());
    assert!(check_bytes(&Elf::armhf().bytes(), Arch::Armhf, &[]).unwrap());
    // A static PIE has a dynamic segment, but needs no library. Go marks no float ABI.
    let pie = Elf { kind: 3, ..Elf::aarch64() }.with_segment(DYNAMIC, R | W, &[0; 16]);
    assert!(check_bytes(&pie.bytes(), Arch::Aarch64, &[]).unwrap());
    let go = Elf { flags: 0x0500_0002, ..Elf::armhf() };
    assert!(check_bytes(&go.bytes(), Arch::Armhf, &[]).unwrap());
}

#[test]
fn other_files_are_told_apart() {
    for bytes in [b"".as_slice(), b"#!/bin/sh\n", b"\x7fEL"] {
        assert!(!check_bytes(bytes, Arch::Aarch64, &[]).unwrap());
    }
}

#[test]
fn the_machine_must_be_right() {
    let expected = "machine: expected aarch64, 64 bit, little-endian, found";
    refused(Elf::armhf(), Arch::Aarch64, &[&format!("{expected} arm, 32 bit, little-endian")]);
    let host = Elf { machine: 62, ..Elf::aarch64() };
    refused(host, Arch::Aarch64, &[&format!("{expected} x86-64, 64 bit, little-endian")]);
    let soft = Elf { flags: 0x0500_0200, ..Elf::armhf() };
    refused(soft, Arch::Armhf, &["float ABI: expected hard float, found soft float (flags 0x05000200)"]);
    let old = Elf { flags: 0x0400_0000, ..Elf::armhf() };
    refused(old, Arch::Armhf, &["float ABI: expected EABI version 5, found version 4 (flags 0x04000000)"]);
    let object = Elf { kind: 1, ..Elf::aarch64() };
    let wrong = "type: expected a program (EXEC or DYN), found type 1 (1: object file, 4: core dump)";
    refused(object, Arch::Aarch64, &[wrong]);
}

#[test]
fn dynamic_programs_are_refused() {
    let interpreter = Elf::aarch64().with_segment(INTERP, R, b"/lib/ld-musl-aarch64.so.1\0");
    let wrong = "static: it asks for the interpreter `/lib/ld-musl-aarch64.so.1` (segment INTERP)";
    refused(interpreter, Arch::Aarch64, &[wrong]);
    for (mut elf, arch) in [(Elf::aarch64(), Arch::Aarch64), (Elf::armhf(), Arch::Armhf)] {
        // The strings are loaded where the first segment is: right behind all headers.
        elf.segments[0].2 = b"\0libc.so\0".to_vec();
        let (header, segment, _) = elf.header_sizes();
        let strings = header + (elf.segments.len() + 1) * segment;
        let dynamic = [1, 1, 5, strings, 1, 9999, 0, 0].map(|value| elf.word(value)).concat();
        let elf = elf.with_segment(DYNAMIC, R | W, &dynamic);
        let name = "static: it needs the library `libc.so` (segment DYNAMIC)";
        refused(elf, arch, &[name, "static: it needs the library `its name cannot be read` (segment DYNAMIC)"]);
    }
}

#[test]
fn memory_must_be_safe() {
    let mut elf = Elf::aarch64();
    elf.segments[2].1 = R | W | X;
    refused(elf, Arch::Aarch64, &["stack: its stack is executable (segment GNU_STACK)"]);
    let mut elf = Elf::armhf();
    elf.segments.pop();
    refused(elf, Arch::Armhf, &["stack: it has no segment GNU_STACK, so its stack is executable"]);
    let writable = Elf::aarch64().with_segment(LOAD, R | W | X, b"both");
    refused(writable, Arch::Aarch64, &["memory: segment 3 is both writable and executable"]);
}

#[test]
fn symbols_must_be_gone() {
    let elf = Elf::aarch64().with_section(".symtab", 2, &[0; 24]).with_section(".debug_info", 1, b"x");
    let symbols = "stripped: it has a symbol table (section .symtab)";
    let debug = "stripped: it has debug information (section .debug_info)";
    refused(elf, Arch::Aarch64, &[symbols, debug]);
}

#[test]
fn paths_of_the_build_are_found() {
    let elf = Elf::aarch64().with_section(".comment", 1, b"\0built in //build/ip/lib/x.c\0");
    let forbidden: [(&str, &[u8]); 3] =
        [("the build folder", b"/build/ip"), ("the home folder", b"/home/x"), ("nothing", b"")];
    let error = check_bytes(&elf.bytes(), Arch::Aarch64, &forbidden).unwrap_err().to_string();
    assert!(
        error.contains("reproducible: section .comment holds the build folder: `/build/ip/lib/x.c` at offset 0x"),
        "{error}"
    );
    assert_eq!(error.lines().count(), 2, "{error}");
}

#[test]
fn truncated_files_are_errors() {
    for (elf, arch) in [(Elf::aarch64(), Arch::Aarch64), (Elf::armhf(), Arch::Armhf)] {
        let bytes = elf.with_segment(DYNAMIC, R | W, &[0; 16]).bytes();
        for length in 4..bytes.len() {
            let error = check_bytes(&bytes[..length], arch, &[]).expect_err("a part of a file passed");
            assert_eq!(exit_code(&error), Kind::Check.exit_code(), "{length}: {error:?}");
        }
    }
}

/// Every byte, in turn, takes every awkward value: an error or not, but no panic.
#[test]
fn hostile_files_do_not_panic() {
    for (elf, arch) in [(Elf::aarch64(), Arch::Aarch64), (Elf::armhf(), Arch::Armhf)] {
        let bytes = elf.with_segment(DYNAMIC, R | W, &[1; 32]).with_segment(INTERP, R, b"/x").bytes();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        for at in 4..bytes.len() {
            for value in [0, 1, 2, 0x7f, 0xff] {
                let mut bytes = bytes.clone();
                bytes[at] = value;
                // A new file each time: rewriting one makes some file systems flush it.
                let _ = fs::remove_file(&path);
                fs::write(&path, bytes).unwrap();
                let _ = check(&path, "bin/x", arch, &[("a text", b"text")]);
            }
        }
    }
}
