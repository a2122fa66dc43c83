//! Changes of small files, of the stage's control pages, and of names.

use std::sync::Arc;

use super::decoder::fields::Field;
use super::script::Op;
use super::world::{World, change_bytes};

const fn row(off: usize, size: usize) -> Field {
    Field { off, size, name: "control page" }
}

/// `docs/FORMAT.md`, "Stage control page, layout 1".
const CONTROL_PAGE: [Field; 17] = [
    row(0, 8),
    row(8, 4),
    row(12, 4),
    row(16, 8),
    row(24, 8),
    row(32, 8),
    row(40, 8),
    row(48, 8),
    row(56, 8),
    row(64, 4),
    row(68, 4),
    row(72, 8),
    row(248, 8),
    row(256, 8),
    row(264, 4),
    row(512, 8),
    row(768, 4),
];
/// `wal_meta.dat`.
const META: [Field; 3] = [row(0, 4), row(4, 4), row(8, 8)];

impl World<'_> {
    fn nth_file(&self, op: Op, which: impl Fn(&str) -> bool) -> Option<String> {
        let names: Vec<&String> = self.files.keys().filter(|name| which(name)).collect();
        names.get(usize::from(op.file) % names.len().max(1)).map(|name| (*name).clone())
    }

    pub fn change_small_file(&mut self, op: Op) {
        let Some(name) = self.nth_file(op, |name| name.starts_with("wal")) else { return };
        change_bytes(Arc::make_mut(self.files.get_mut(&name).unwrap()), op);
    }

    pub fn put_meta(&mut self, op: Op) {
        let Some(bytes) = self.files.get_mut("wal_meta.dat").map(Arc::make_mut) else { return };
        let field = META[usize::from(op.field) % META.len()];
        if bytes.len() >= 16 {
            let number = op.number(field.of(bytes), || u64::MAX);
            field.put(bytes, number);
        }
    }

    pub fn put_control_page(&mut self, op: Op) {
        let Some(name) = self.nth_file(op, |name| name.contains("slot.")) else { return };
        let other = self.nth_file(Op { file: op.place.to_le_bytes()[0], ..op }, |name| name.contains("slot."));
        let other = other.map(|name| Arc::clone(&self.files[&name]));
        let bytes = Arc::make_mut(self.files.get_mut(&name).unwrap());
        let field = CONTROL_PAGE[usize::from(op.field) % CONTROL_PAGE.len()];
        if bytes.len() >= 4096 {
            let elsewhere = || other.filter(|bytes| bytes.len() >= 4096).map_or(0, |bytes| field.of(&bytes));
            let number = op.number(field.of(bytes), elsewhere);
            field.put(bytes, number);
        }
    }

    /// A byte or an event of a slot's image, or its length.
    pub fn change_slot(&mut self, op: Op) {
        let Some(name) = self.nth_file(op, |name| name.contains("slot.")) else { return };
        let bytes = Arc::make_mut(self.files.get_mut(&name).unwrap());
        if op.kind.is_multiple_of(4) {
            let place = 4096 + 64 + 64 + op.pick(64 * 64);
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= op.value.to_le_bytes()[0].max(1);
            }
        } else if op.kind % 4 == 1 {
            bytes.truncate(op.pick(bytes.len() + 1));
        }
    }

    /// `walrec.stage` anew, with a path of some kind.
    pub fn put_stage_record(&mut self, op: Op) {
        let Some(old) = self.files.get("walrec.stage").map(|bytes| String::from_utf8_lossy(bytes).into_owned()) else {
            return;
        };
        let mut words: Vec<String> = old.trim_end().splitn(4, ' ').map(str::to_owned).collect();
        words.resize(4, String::new());
        let last = words[3].rsplit('/').next().unwrap_or_default().to_owned();
        match op.field % 4 {
            0 => ["open", "closed", "", "OPEN"][op.pick(4)].clone_into(&mut words[0]),
            1 => words[1] = format!("{:032x}", op.value),
            2 => words[2] = format!("{:032x}", op.value),
            _ => {
                let paths = [
                    "stage".to_owned(),
                    format!("/log/../elsewhere/{last}"),
                    format!("/elsewhere/{last}"),
                    format!("/dev/shm/../../log/{last}"),
                    "/log".to_owned(),
                    "/".to_owned(),
                    format!("{last}/.."),
                    format!("/{last}/."),
                    format!("//dev//shm//{last}"),
                    format!("/dev/shm/{last}/{last}"),
                    "../log".to_owned(),
                    "x".repeat(op.pick_other(9_000)),
                ];
                words[3].clone_from(&paths[op.pick(paths.len())]);
            }
        }
        let end = if op.kind % 8 == 7 { "" } else { "\n" };
        self.files.insert("walrec.stage".into(), Arc::new(format!("{}{end}", words.join(" ")).into_bytes()));
    }

    pub fn make_directory(&mut self, op: Op) {
        let stage = self.files.keys().find_map(|name| name.strip_suffix("/slot.000").map(str::to_owned));
        let names = [
            "quarantine",
            "stage",
            "FS.00000003.wal",
            "FS.00000001.wal.lz4",
            "FS.00000007.new",
            "wal_meta.dat",
            "walrec.id",
            "walrec.stage",
            "/elsewhere",
            stage.as_deref().unwrap_or("/dev/shm/walrec-00112233445566778899aabbccddeeff"),
        ];
        let name = names[op.pick(names.len())];
        self.files.remove(name);
        let mode = [0o700, 0o755, 0o777, 0o000][op.pick_other(4)];
        self.directories.push((name.to_owned(), mode, op.kind % 4 != 3));
    }

    /// Takes a file away, or puts it under another name too.
    pub fn change_names(&mut self, op: Op) {
        let Some(name) = self.nth_file(op, |_| true) else { return };
        let bytes = Arc::clone(&self.files[&name]);
        if op.kind.is_multiple_of(3) {
            self.files.remove(&name);
        }
        if op.kind % 3 == 2 || (op.kind.is_multiple_of(3) && op.field.is_multiple_of(2)) {
            return;
        }
        let to = name_of(op);
        self.files.insert(to, bytes);
    }

    /// A file with a name and a few bytes.
    pub fn make_file(&mut self, op: Op) {
        let bytes = [vec![], op.value.to_le_bytes().to_vec(), vec![op.kind; 64], vec![0; 16_512]];
        self.files.insert(name_of(op), Arc::new(bytes[usize::from(op.kind) % bytes.len()].clone()));
    }
}

/// A name that means something, or nearly does.
fn name_of(op: Op) -> String {
    let indices = [0, 1, 2, 3, 4, 5, 9, 99_999_999, 100_000_000, u32::MAX - 1, u32::MAX];
    let index = indices[op.pick(indices.len())];
    match op.value % 18 {
        0..=3 => format!("FS.{index:08}.wal"),
        4..=6 => format!("FS.{index:08}.wal.lz4"),
        7 => format!("FS.{index:08}.new"),
        8 => format!("FS.{index:08}.lz4.tmp"),
        9 => format!("FS.{index:08}.del"),
        10 => format!("quarantine/FS.{index:08}.lost"),
        11 => format!("quarantine/FS.{index:08}.wal"),
        12 => ["wal_meta.dat.tmp", "walrec.id.tmp", "walrec.stage.tmp"][op.pick(3)].to_owned(),
        13 => ["wal_meta.dat", "walrec.id", "walrec.stage"][op.pick(3)].to_owned(),
        14 => format!("FS.0{index:08}.wal"),
        15 => format!("FS.{index:08}.WAL"),
        16 => format!("stage/slot.{:03}", index % 4),
        _ => format!("FS.{index}.wal"),
    }
}
