//! What is plugged in but may not be opened: the commonest reason why a client lists nothing, and the one
//! that it does not tell.

use std::path::{Path, PathBuf};

use fs_err as fs;

/// Class, subclass and protocol of a USB interface: how a daemon shows what it speaks.
pub type Interface = [u8; 3];

/// A device that has the interface, and that this user may not write to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Closed {
    pub serial: Option<String>,
    pub node: PathBuf,
    pub vendor: String,
    pub product: String,
}

impl Closed {
    /// The line that lets the user who sits at this machine open it.
    pub fn rule(&self) -> String {
        format!(
            "SUBSYSTEM==\"usb\", ATTR{{idVendor}}==\"{}\", ATTR{{idProduct}}==\"{}\", MODE=\"0660\", TAG+=\"uaccess\"",
            self.vendor, self.product
        )
    }
}

/// The devices with this interface that are closed to us.
pub fn closed(interface: Interface) -> Vec<Closed> {
    closed_below(Path::new("/sys/bus/usb/devices"), Path::new("/dev/bus/usb"), interface)
}

fn closed_below(sys: &Path, dev: &Path, interface: Interface) -> Vec<Closed> {
    let Ok(entries) = fs::read_dir(sys) else { return Vec::new() };
    let interfaces = entries.filter_map(|entry| Some(entry.ok()?.path())).filter(|path| speaks(path, interface));
    let mut found: Vec<Closed> = interfaces.filter_map(|path| device(sys, dev, &path)).collect();
    found.sort_by(|a, b| a.node.cmp(&b.node));
    found.dedup();
    found.retain(|found| rustix::fs::access(&found.node, rustix::fs::Access::WRITE_OK).is_err());
    found
}

/// True for the folder of an interface (`1-2:1.0`) of that kind.
fn speaks(path: &Path, interface: Interface) -> bool {
    let names = ["bInterfaceClass", "bInterfaceSubClass", "bInterfaceProtocol"];
    names
        .into_iter()
        .zip(interface)
        .all(|(name, byte)| attribute(path, name).is_some_and(|it| it == format!("{byte:02x}")))
}

/// The device to which the interface's folder `1-2:1.0` belongs: `1-2`.
fn device(sys: &Path, dev: &Path, interface: &Path) -> Option<Closed> {
    let (name, _) = interface.file_name()?.to_str()?.split_once(':')?;
    let device = sys.join(name);
    let number = |name| attribute(&device, name)?.parse::<u16>().ok();
    let node = dev.join(format!("{:03}/{:03}", number("busnum")?, number("devnum")?));
    let (vendor, product) = (attribute(&device, "idVendor")?, attribute(&device, "idProduct")?);
    Some(Closed { serial: attribute(&device, "serial"), node, vendor, product })
}

fn attribute(path: &Path, name: &str) -> Option<String> {
    Some(fs::read_to_string(path.join(name)).ok()?.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_without_permission_is_found() {
        let space = tempfile::tempdir().unwrap();
        let write = |path: &str, text: &str| {
            let path = space.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        for (name, value) in [("busnum", "1"), ("devnum", "4"), ("idVendor", "2207"), ("idProduct", "5000")] {
            write(&format!("sys/1-2/{name}"), &format!("{value}\n"));
        }
        for (name, value) in [("bInterfaceClass", "ff"), ("bInterfaceSubClass", "50"), ("bInterfaceProtocol", "01")] {
            write(&format!("sys/1-2:1.0/{name}"), &format!("{value}\n"));
        }
        let find = |interface| closed_below(&space.path().join("sys"), &space.path().join("dev"), interface);
        // The node is not there at all, which is as closed as one without permission; a test may run as root.
        let found = find([0xff, 0x50, 0x01]);
        assert_eq!(found.len(), 1);
        assert!(found[0].node.ends_with("dev/001/004"));
        assert!(found[0].rule().contains("ATTR{idVendor}==\"2207\", ATTR{idProduct}==\"5000\""));
        assert!(find([0xff, 0x42, 0x01]).is_empty(), "another protocol");
        write("dev/001/004", "");
        assert!(find([0xff, 0x50, 0x01]).is_empty(), "a node that may be opened");
    }
}
