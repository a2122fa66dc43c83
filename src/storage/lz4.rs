//! Reading of LZ4 frames (`docs/FORMAT.md`, "Frozen segment").
//!
//! A frozen segment is one or several standard frames, one after another. The decoder of `lz4_flex` gives a frame that is
//! cut before its end mark as an end of stream, and stops after each frame; so the end mark and the next frame are
//! looked after here, and nothing is ever allocated by a size the file claims.

use std::io::{self, Read};
use std::sync::Arc;

use lz4_flex::frame::FrameDecoder;
use xxhash_rust::xxh32::xxh32;

use super::File;
use super::lz4_frame::{FLAGS as WRITTEN_FLAGS, FrameEncoder, MOST_CONTENT};
use super::mapping::{look_for_memory, zeroed_bytes};
use crate::format::{u32_at, u64_at};

const READ_BYTES: usize = 1 << 18;

/// The decoded bytes of a frozen segment, in order. Memory: the decoder's blocks, 12 MiB at the most for frames of 4 MiB, and 256 KiB.
pub struct FrozenReader {
    decoder: FrameDecoder<FileStream>,
    /// What the decoder's buffers were made for.
    shape: Option<FrameShape>,
}

/// What decides how large a decoder's buffers are: whether blocks are linked, and how large they may be.
type FrameShape = (bool, u8);

impl std::fmt::Debug for FrozenReader {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("FrozenReader")
    }
}

impl FrozenReader {
    /// Reads `file` from its start.
    #[must_use]
    pub fn new(file: impl Into<Arc<dyn File>>) -> Self {
        Self { decoder: FrameDecoder::new(FileStream::new(Some(file.into()), Box::default(), 0)), shape: None }
    }

    /// Without a file yet, and with all the buffers that frames of [`FrameEncoder`] take.
    ///
    /// # Errors
    /// No memory.
    pub fn in_advance() -> io::Result<Self> {
        // The decoder makes its own with the first frame, where no error can be told: one for a block, and one for what becomes of it.
        look_for_memory(2 * MOST_CONTENT + READ_BYTES)?;
        let mut encoder = FrameEncoder::new(1)?;
        let frame = encoder.encode(&[0])?;
        let mut buffer = zeroed_bytes(READ_BYTES)?;
        buffer[..frame.len()].copy_from_slice(frame);
        let mut stream = FileStream::new(None, buffer.into_boxed_slice(), 0);
        stream.end = frame.len();
        let mut reader = Self { decoder: FrameDecoder::new(stream), shape: None };
        reader.read_up_to(&mut [0; 2])?;
        Ok(reader)
    }

    /// Goes on at `offset` of the file, where a frame begins.
    pub fn enter_frame(&mut self, offset: u64) {
        // The decoder may stand inside a frame: a new one, with the file and the buffer of the old.
        let stream = self.decoder.get_mut();
        let (file, buffer) = (stream.file.take(), std::mem::take(&mut stream.buffer));
        self.decoder = FrameDecoder::new(FileStream::new(file, buffer, offset));
        self.shape = None;
    }

    /// The decoder keeps its buffers from frame to frame and takes them to be of the present one's size: a frame of another shape
    /// gets a new decoder. Frames that one writer made have one shape.
    fn fit_next_frame(&mut self) -> io::Result<()> {
        let Some((shape, offset)) = self.decoder.get_ref().next_shape()? else { return Ok(()) };
        if self.shape.is_some_and(|fits| fits != shape) {
            self.enter_frame(offset);
        }
        self.shape = Some(shape);
        Ok(())
    }

    /// The file, to look at its structure; `None` between two files.
    #[must_use]
    pub fn file(&self) -> Option<&Arc<dyn File>> {
        self.decoder.get_ref().file.as_ref()
    }

    /// Whether the last bytes given were the end of a frame: only then [`Self::restart`] may follow.
    #[must_use]
    pub fn is_between_frames(&self) -> bool {
        matches!(self.decoder.get_ref().frame, FrameWalk::Between)
    }

    /// Reads `file` from its start, with the buffers that are there.
    pub fn restart(&mut self, file: impl Into<Arc<dyn File>>) {
        let stream = self.decoder.get_mut();
        if stream.buffer.len() < READ_BYTES {
            stream.buffer = Box::default();
        }
        (stream.file, stream.offset, stream.begin, stream.end) = (Some(file.into()), 0, 0, 0);
    }

    /// Closes the file and keeps the buffers; [`Self::restart`] gives it another one.
    pub fn release(&mut self) {
        self.decoder.get_mut().file = None;
    }

    /// Fills `buffer` from the decoded bytes; gives fewer only where they end: at the file's end, after an end mark.
    ///
    /// # Errors
    /// The file's own; `InvalidData` for what is no LZ4 frame, a checksum that does not hold, or a frame without its end.
    pub fn read_up_to(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut done = 0;
        while done < buffer.len() {
            if self.is_between_frames() {
                self.fit_next_frame()?;
            }
            match self.decoder.read(&mut buffer[done..]).map_err(about_the_data)? {
                0 if !matches!(self.decoder.get_ref().frame, FrameWalk::Between) => {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, "an LZ4 frame is cut before its end mark"));
                }
                // The decoder stops after each frame: go on unless the file ends here too.
                0 if self.decoder.get_mut().at_end()? => break,
                read => done += read,
            }
        }
        Ok(done)
    }
}

/// Errors of the file pass; everything else the decoder says is about the data.
fn about_the_data(error: io::Error) -> io::Error {
    if error.raw_os_error().is_some() { error } else { io::Error::new(io::ErrorKind::InvalidData, error.to_string()) }
}

/// A file as a stream that knows whether it stands between two frames.
struct FileStream {
    /// `None` between two files.
    file: Option<Arc<dyn File>>,
    offset: u64,
    /// Empty before the first read.
    buffer: Box<[u8]>,
    begin: usize,
    end: usize,
    frame: FrameWalk,
}

impl FileStream {
    fn new(file: Option<Arc<dyn File>>, buffer: Box<[u8]>, offset: u64) -> Self {
        Self { file, offset, buffer, begin: 0, end: 0, frame: FrameWalk::Between }
    }

    fn fill(&mut self) -> io::Result<()> {
        if self.begin == self.end {
            self.begin = 0;
            let Some(file) = &self.file else {
                self.end = 0;
                return Ok(());
            };
            if self.buffer.is_empty() {
                // A small file needs no large one.
                let bytes = usize::try_from(file.attributes()?.bytes).unwrap_or(READ_BYTES).min(READ_BYTES);
                self.buffer = zeroed_bytes(bytes)?.into_boxed_slice();
            }
            self.end = file.read_at(&mut self.buffer, self.offset)?;
            self.offset += self.end as u64;
        }
        Ok(())
    }

    fn at_end(&mut self) -> io::Result<bool> {
        self.fill()?;
        Ok(self.begin == self.end)
    }

    /// The shape of the frame that begins here, and where that is; `None` when there is no room for one.
    fn next_shape(&self) -> io::Result<Option<(FrameShape, u64)>> {
        let Some(file) = &self.file else { return Ok(None) };
        let offset = self.offset - (self.end - self.begin) as u64;
        let mut head = [0; 6];
        if file.read_up_to(&mut head, offset)? < head.len() {
            return Ok(None);
        }
        Ok(Some(((head[4] & FLAG_INDEPENDENT == 0, head[5]), offset)))
    }
}

impl Read for FileStream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.fill()?;
        let count = buffer.len().min(self.end - self.begin);
        let bytes = &self.buffer[self.begin..self.begin + count];
        buffer[..count].copy_from_slice(bytes);
        self.frame.pass(bytes);
        self.begin += count;
        Ok(count)
    }
}

/// A frame that holds one LZ4 block and says how long its content is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SizedFrame {
    /// Bytes it decodes to, as it says; not to be trusted before they are there.
    pub content_bytes: u64,
    /// Offset of the byte after it.
    pub end: u64,
}

/// Looks at the frame at `offset` without decoding it: one read of its first bytes. `None` for a frame of another form, and for
/// one that the file does not hold to its end.
///
/// # Errors
/// The file's.
pub fn sized_frame(file: &dyn File, file_bytes: u64, offset: u64) -> io::Result<Option<SizedFrame>> {
    let mut head = [0; HEAD_BYTES];
    if file.read_up_to(&mut head, offset)? < HEAD_BYTES {
        return Ok(None);
    }
    Ok(FrameHead::parse(&head).map(|head| head.frame_at(offset)).filter(|frame| frame.end <= file_bytes))
}

/// Most bytes of a frame that [`read_small_frame`] takes.
const SMALL_FRAME_BYTES: usize = 512;

/// Decodes the frame at the file's front, if it is a small one of the form that the freezer writes: one read, and no buffer but the
/// stack's. Gives the offset of the byte after it. `None` for anything else, damage included: the stream's decoder judges that.
///
/// # Errors
/// The file's.
pub fn read_small_frame(file: &dyn File, content: &mut [u8]) -> io::Result<Option<u64>> {
    let mut bytes = [0; SMALL_FRAME_BYTES];
    let read = file.read_up_to(&mut bytes, 0)?;
    Ok(decode_frame(&bytes[..read], content).map(|end| end as u64))
}

/// Decodes the frame at `offset` of the file into `content`, whose length it must say it has. `packed` holds what lies in the file.
/// `false` for a frame that the freezer does not write, damage included: the stream's decoder judges that.
///
/// # Errors
/// The file's.
pub fn read_frame(
    file: &dyn File,
    offset: u64,
    frame: SizedFrame,
    packed: &mut Vec<u8>,
    content: &mut [u8],
) -> io::Result<bool> {
    let bytes = usize::try_from(frame.end.saturating_sub(offset)).unwrap_or(usize::MAX);
    // What would be larger packed is stored as it is.
    if bytes > HEAD_BYTES + content.len() + AFTER_BLOCK_BYTES {
        return Ok(false);
    }
    if packed.len() < bytes {
        packed.resize(bytes, 0);
    }
    let packed = &mut packed[..bytes];
    Ok(file.read_up_to(packed, offset)? == bytes && decode_frame(packed, content) == Some(bytes))
}

/// Decodes the frame at the front of `bytes`, of the form that the freezer writes; gives the number of its bytes.
fn decode_frame(bytes: &[u8], content: &mut [u8]) -> Option<usize> {
    let (head, _) = bytes.split_first_chunk()?;
    let parsed = FrameHead::parse(head).filter(|head| head.flags == WRITTEN_FLAGS)?;
    let frame = parsed.frame_at(0);
    let end = usize::try_from(frame.end).ok().filter(|&end| end <= bytes.len())?;
    let most = match head[5] {
        descriptor @ (0x40 | 0x50 | 0x60 | 0x70) => 1_usize << (8 + (descriptor >> 4) * 2),
        _ => 0,
    };
    let sound = frame.content_bytes == content.len() as u64
        && content.len() <= most
        && head[14] == xxh32(&head[4..14], 0).to_le_bytes()[1];
    let (block, rest) = bytes[HEAD_BYTES..end].split_at_checked(parsed.block_bytes as usize).filter(|_| sound)?;
    if parsed.stored {
        (block.len() == content.len()).then(|| content.copy_from_slice(block))?;
    } else {
        let length = lz4_flex::block::decompress_into(block, content).ok()?;
        (length == content.len()).then_some(())?;
    }
    (u32_at(rest, 0) == 0 && u32_at(rest, 4) == xxh32(content, 0)).then_some(end)
}

/// End mark and content checksum.
const AFTER_BLOCK_BYTES: usize = 4 + 4;
/// Magic, flags, block descriptor, content size, header checksum, size of the first LZ4 block.
const HEAD_BYTES: usize = 4 + 1 + 1 + 8 + 1 + 4;
const MAGIC: u32 = 0x184d_2204;

/// What the first bytes of a frame with a content size say.
struct FrameHead {
    flags: u8,
    content_bytes: u64,
    /// The first block is stored as it is.
    stored: bool,
    block_bytes: u32,
}

impl FrameHead {
    fn parse(head: &[u8; HEAD_BYTES]) -> Option<Self> {
        let flags = head[4];
        let sized = flags & FLAG_CONTENT_SIZE != 0 && flags & FLAG_DICTIONARY == 0;
        let block = u32_at(head, 15);
        let (stored, block_bytes) = (block >> 31 == 1, block & 0x7fff_ffff);
        // 64 KiB to 4 MiB; the other bits are reserved.
        let known = matches!(head[5], 0x40 | 0x50 | 0x60 | 0x70);
        (u32_at(head, 0) == MAGIC && sized && known).then(|| Self {
            flags,
            content_bytes: u64_at(head, 6),
            stored,
            block_bytes,
        })
    }

    /// The frame, if its first block is its only one.
    fn frame_at(&self, offset: u64) -> SizedFrame {
        let bytes = |flag: u8| if self.flags & flag != 0 { 4 } else { 0 };
        let block = u64::from(self.block_bytes) + bytes(FLAG_BLOCK_CHECKSUM);
        // After the block: the end mark, and the content checksum.
        let end = offset + HEAD_BYTES as u64 + block + 4 + bytes(FLAG_CONTENT_CHECKSUM);
        SizedFrame { content_bytes: self.content_bytes, end }
    }
}

/// Where in the structure of frames the bytes passed so far end. It follows sizes only; the decoder judges the content.
#[derive(Clone, Copy, Debug)]
enum FrameWalk {
    /// No byte of a frame, or a whole one.
    Between,
    /// In the magic and the descriptor's flags: `seen` of 5 bytes.
    Start { seen: u32 },
    /// In the rest of the descriptor.
    Descriptor { left: u32, flags: u8 },
    /// In a block's size: `seen` of 4 bytes, little-endian.
    Size { seen: u32, size: u32, flags: u8 },
    /// In a block, its checksum included.
    Block { left: u32, flags: u8 },
    /// In the content checksum.
    Checksum { left: u32 },
}

const FLAG_CONTENT_CHECKSUM: u8 = 1 << 2;
const FLAG_CONTENT_SIZE: u8 = 1 << 3;
const FLAG_BLOCK_CHECKSUM: u8 = 1 << 4;
const FLAG_INDEPENDENT: u8 = 1 << 5;
const FLAG_DICTIONARY: u8 = 1;

impl FrameWalk {
    fn pass(&mut self, bytes: &[u8]) {
        let mut rest = bytes;
        while let Some((&first, after)) = rest.split_first() {
            if let Self::Block { left, flags } = *self {
                let step = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                rest = &rest[step..];
                let left = left - u32::try_from(step).unwrap_or(left);
                *self = if left == 0 { Self::Size { seen: 0, size: 0, flags } } else { Self::Block { left, flags } };
            } else {
                self.step(first);
                rest = after;
            }
        }
    }

    fn step(&mut self, byte: u8) {
        *self = match *self {
            Self::Between => Self::Start { seen: 1 },
            Self::Start { seen: 4 } => {
                let has = |flag: u8, bytes: u32| if byte & flag != 0 { bytes } else { 0 };
                // The block descriptor and the header checksum, and what the flags add.
                Self::Descriptor { left: 2 + has(FLAG_CONTENT_SIZE, 8) + has(FLAG_DICTIONARY, 4), flags: byte }
            }
            Self::Start { seen } => Self::Start { seen: seen + 1 },
            Self::Descriptor { left: 1, flags } => Self::Size { seen: 0, size: 0, flags },
            Self::Descriptor { left, flags } => Self::Descriptor { left: left - 1, flags },
            Self::Size { seen, size, flags } => {
                let size = size | u32::from(byte) << (8 * seen);
                match (seen, size & 0x7fff_ffff) {
                    (3, 0) if flags & FLAG_CONTENT_CHECKSUM != 0 => Self::Checksum { left: 4 },
                    (3, 0) => Self::Between,
                    (3, left) => {
                        let checksum = if flags & FLAG_BLOCK_CHECKSUM != 0 { 4 } else { 0 };
                        Self::Block { left: left.saturating_add(checksum), flags }
                    }
                    _ => Self::Size { seen: seen + 1, size, flags },
                }
            }
            Self::Checksum { left: 1 } => Self::Between,
            Self::Checksum { left } => Self::Checksum { left: left - 1 },
            Self::Block { .. } => *self,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::{Access, FrameEncoder, System, simulated::SimulatedSystem};
    use std::path::Path;

    /// A small frame is decoded as the stream decodes it, and one with a wrong bit is not decoded.
    #[test]
    fn a_small_frame_is_decoded_whole_or_left_to_the_stream() {
        let noise: [u8; 64] = std::array::from_fn(|place| u8::try_from(place * place * 151 % 251).unwrap());
        let mut header = [0; 64];
        header[..4].copy_from_slice(b"head");
        for content in [noise, header] {
            let frame = FrameEncoder::new(64).unwrap().encode(&content).unwrap().to_vec();
            let machine = SimulatedSystem::new(1);
            let file = |bytes: &[u8]| {
                machine.write_file("/frame", bytes);
                machine.open_directory(Path::new("/"), true).unwrap().open_file("frame", Access::Read).unwrap()
            };
            let decoded = |bytes: &[u8], length: usize| {
                let mut out = vec![0; length];
                read_small_frame(&*file(bytes), &mut out).unwrap().map(|end| (out, end))
            };
            let end = frame.len() as u64;
            assert_eq!(decoded(&frame, 64), Some((content.to_vec(), end)));
            assert_eq!(decoded(&[&frame[..], &[9; 1000]].concat(), 64), Some((content.to_vec(), end)));
            assert_eq!((decoded(&frame, 63), decoded(&frame, 65)), (None, None));
            for cut in 0..frame.len() {
                assert_eq!(decoded(&frame[..cut], 64), None, "cut at {cut}");
            }
            for bit in 0..frame.len() * 8 {
                let mut damaged = frame.clone();
                damaged[bit / 8] ^= 1 << (bit % 8);
                let found = decoded(&damaged, 64);
                let mut streamed = [0; 64];
                let stream = FrozenReader::new(file(&damaged)).read_up_to(&mut streamed);
                // What is decoded here, the stream decodes too, to the same.
                assert!(found.is_none() || (stream.is_ok() && found == Some((streamed.to_vec(), end))), "bit {bit}");
            }
            for descriptor in 0..=u8::MAX {
                let mut other = frame.clone();
                other[5] = descriptor;
                other[14] = xxh32(&other[4..14], 0).to_le_bytes()[1];
                let found = decoded(&other, 64).is_some();
                assert_eq!(found, descriptor & 0x8f == 0 && descriptor >= 0x40, "block descriptor {descriptor:#x}");
            }
        }
    }
}
