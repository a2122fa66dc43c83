//! What a fuzzer's input says: which sound log to begin with, and then changes to it, sixteen bytes each.
//!
//! So a small input makes a large log, every byte of it matters, and a change can be followed by one that mends the checksums: what is
//! behind them is reached as easily as the checksums are.

/// Bytes of one change.
pub const OP_BYTES: usize = 16;
/// Which log.
pub const HEAD_BYTES: usize = 1;
/// More changes than this are not looked at.
pub const MOST_OPS: usize = 32;

/// Numbers that are edges of something.
const EDGES: [u64; 20] = [
    0,
    1,
    2,
    16,
    63,
    64,
    255,
    256,
    257,
    16_448,
    0xffff,
    524_288,
    524_289,
    0x7fff_ffff,
    0x8000_0000,
    0xffff_ffff,
    1 << 32,
    i64::MAX.cast_unsigned(),
    u64::MAX - 1,
    u64::MAX,
];

/// One change: what, to which file, and where.
#[derive(Clone, Copy, Debug)]
pub struct Op {
    pub code: u8,
    pub file: u8,
    pub field: u8,
    pub kind: u8,
    pub place: u32,
    pub value: u64,
}

impl Op {
    fn parse(bytes: &[u8]) -> Self {
        let mut whole = [0; OP_BYTES];
        whole[..bytes.len()].copy_from_slice(bytes);
        Self {
            code: whole[0],
            file: whole[1],
            field: whole[2],
            kind: whole[3],
            place: u32::from_le_bytes(whole[4..8].try_into().unwrap()),
            value: u64::from_le_bytes(whole[8..].try_into().unwrap()),
        }
    }

    pub fn to_bytes(self) -> [u8; OP_BYTES] {
        let mut bytes = [0; OP_BYTES];
        bytes[..4].copy_from_slice(&[self.code, self.file, self.field, self.kind]);
        bytes[4..8].copy_from_slice(&self.place.to_le_bytes());
        bytes[8..].copy_from_slice(&self.value.to_le_bytes());
        bytes
    }

    /// The number that takes the place of `old`; `elsewhere` is the same field of another structure.
    pub fn number(self, old: u64, elsewhere: impl FnOnce() -> u64) -> u64 {
        let low = self.value.to_le_bytes()[0];
        match self.kind % 5 {
            0 => self.value,
            1 => old.wrapping_add_signed(i64::from(low.cast_signed())),
            2 => EDGES[usize::from(low) % EDGES.len()],
            3 => old ^ 1 << (low % 64),
            _ => elsewhere(),
        }
    }

    /// One of `count` things, by the place.
    pub fn pick(self, count: usize) -> usize {
        self.place as usize % count.max(1)
    }

    /// One of `count` things, by the value.
    pub fn pick_other(self, count: usize) -> usize {
        usize::try_from(self.value % count.max(1) as u64).unwrap_or(0)
    }
}

/// The head and the changes.
pub fn parse(data: &[u8]) -> ([u8; HEAD_BYTES], Vec<Op>) {
    let mut head = [0; HEAD_BYTES];
    let split = data.len().min(HEAD_BYTES);
    head[..split].copy_from_slice(&data[..split]);
    (head, data[split..].chunks(OP_BYTES).take(MOST_OPS).map(Op::parse).collect())
}

/// splitmix64
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        word ^ (word >> 31)
    }

    pub fn below(&mut self, below: usize) -> usize {
        usize::try_from(self.next() % below.max(1) as u64).unwrap_or(0)
    }
}

/// A change out of the air: small numbers mostly, as they mean something.
fn any_op(random: &mut Random, codes: u8) -> [u8; OP_BYTES] {
    let word = random.next().to_le_bytes();
    let place = [3, 20, 300, u32::MAX][random.below(4)];
    let value = [8, 300, u64::MAX][random.below(3)];
    Op {
        code: word[0] % codes,
        file: word[1] % 8,
        field: word[2] % 32,
        kind: word[3],
        place: u32::try_from(random.next() & 0xffff_ffff).unwrap_or(0) % place,
        value: random.next() % value,
    }
    .to_bytes()
}

/// Changes an input in one way that keeps its form; gives its new size. `codes` is how many kinds of change there are, `repair` the one
/// that mends checksums: it is often put at the end, so that what was changed before is believed.
pub fn mutate(data: &mut [u8], size: usize, seed: u32, codes: u8, repair: u8) -> usize {
    let mut random = Random(u64::from(seed));
    let most = data.len().saturating_sub(HEAD_BYTES) / OP_BYTES;
    if most == 0 {
        return size;
    }
    let mut input = data[..size].to_vec();
    if input.len() < HEAD_BYTES {
        input.resize(HEAD_BYTES, 0);
    }
    let mut ops: Vec<[u8; OP_BYTES]> = input[HEAD_BYTES..]
        .chunks(OP_BYTES)
        .map(|bytes| {
            let mut op = [0; OP_BYTES];
            op[..bytes.len()].copy_from_slice(bytes);
            op
        })
        .collect();
    let at = random.below(ops.len());
    match random.below(8) {
        0 | 1 => ops.insert(random.below(ops.len() + 1), any_op(&mut random, codes)),
        2 if !ops.is_empty() => drop(ops.remove(at)),
        3 if !ops.is_empty() => ops.insert(at, ops[at]),
        4 if ops.len() > 1 => {
            let other = random.below(ops.len());
            ops.swap(at, other);
        }
        5 => input[random.below(HEAD_BYTES)] = random.next().to_le_bytes()[0],
        _ if !ops.is_empty() => {
            let (byte, word) = (random.below(OP_BYTES), random.next().to_le_bytes());
            ops[at][byte] = if word[0].is_multiple_of(2) { word[1] % 9 } else { word[1] };
        }
        _ => ops.push(any_op(&mut random, codes)),
    }
    if random.below(3) == 0 {
        let file = ops.last().map_or(0, |op| op[1]);
        // Of block headers sometimes their own checksums only.
        let field = if random.below(4) == 0 { 0b1_1100 } else { 0xff };
        ops.push(Op { code: repair, file, field, kind: 0, place: 0, value: 0 }.to_bytes());
    }
    ops.truncate(most.min(MOST_OPS));
    input.truncate(HEAD_BYTES);
    input.extend(ops.iter().flatten());
    data[..input.len()].copy_from_slice(&input);
    input.len()
}
