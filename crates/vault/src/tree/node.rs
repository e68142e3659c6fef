//! The nodes of disk maps as bytes.

use super::{FAN_OUT, REGION_BYTES};
use crate::{ChunkId, Result, codec::Reader};

const LEAF_TAG: u8 = 1;
const INNER_TAG: u8 = 2;
const VERSION: u8 = 1;
const CHUNK_REF_BYTES: usize = 40;

/// One chunk of a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ChunkRef {
    /// From the region's start.
    pub(crate) offset_bytes: u32,
    pub(crate) length_bytes: u32,
    pub(crate) id: ChunkId,
}

impl ChunkRef {
    pub(crate) fn end_bytes(&self) -> u32 {
        self.offset_bytes + self.length_bytes
    }
}

/// The chunks of one region, sorted and disjoint; what they leave out reads as zero.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Leaf {
    pub(crate) chunks: Vec<ChunkRef>,
}

impl Leaf {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(6 + CHUNK_REF_BYTES * self.chunks.len());
        bytes.extend([LEAF_TAG, VERSION]);
        bytes.extend((self.chunks.len() as u32).to_le_bytes());
        for chunk in &self.chunks {
            bytes.extend(chunk.offset_bytes.to_le_bytes());
            bytes.extend(chunk.length_bytes.to_le_bytes());
            bytes.extend(chunk.id.0);
        }
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a region of a disk map");
        check_tag(&mut reader, LEAF_TAG)?;
        let count = reader.count(CHUNK_REF_BYTES)?;
        let mut chunks: Vec<ChunkRef> = Vec::with_capacity(count);
        let mut free_from_bytes = 0;
        for _ in 0..count {
            let (offset_bytes, length_bytes) = (reader.u32()?, reader.u32()?);
            let id = ChunkId(reader.array()?);
            let end_bytes =
                offset_bytes.checked_add(length_bytes).filter(|&end| u64::from(end) <= REGION_BYTES);
            match end_bytes {
                Some(end_bytes) if length_bytes > 0 && offset_bytes >= free_from_bytes => {
                    free_from_bytes = end_bytes
                }
                _ => return Err(reader.error("holds chunks that overlap or leave it")),
            }
            chunks.push(ChunkRef { offset_bytes, length_bytes, id });
        }
        reader.finish()?;
        Ok(Self { chunks })
    }
}

/// Up to 64 children, in order; absent ones are all zeros.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct InnerNode {
    /// Height above the leaves, at least 1.
    pub(crate) level: u8,
    pub(crate) children: [Option<ChunkId>; FAN_OUT as usize],
}

impl InnerNode {
    pub(crate) fn new(level: u8) -> Self {
        Self { level, children: [None; FAN_OUT as usize] }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.children.iter().all(Option::is_none)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let present = self.children.iter().enumerate();
        let present = present.fold(0u64, |bits, (place, child)| bits | u64::from(child.is_some()) << place);
        let mut bytes = vec![INNER_TAG, VERSION, self.level];
        bytes.extend(present.to_le_bytes());
        bytes.extend(self.children.iter().flatten().flat_map(|id| id.0));
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new(bytes, "a node of a disk map");
        check_tag(&mut reader, INNER_TAG)?;
        let mut node = Self::new(reader.u8()?);
        let present = reader.u64()?;
        for (place, child) in node.children.iter_mut().enumerate() {
            if present >> place & 1 == 1 {
                *child = Some(ChunkId(reader.array()?));
            }
        }
        if node.level == 0 {
            return Err(reader.error("claims to be a region"));
        }
        reader.finish()?;
        Ok(node)
    }
}

/// The ids that a node refers to, whichever kind of node it is.
#[derive(Debug)]
pub(crate) enum References {
    /// Of nodes.
    Nodes(Vec<ChunkId>),
    /// Of chunks of data.
    Data(Vec<ChunkId>),
}

impl References {
    pub(crate) fn of_node(bytes: &[u8]) -> Result<Self> {
        if bytes.first() == Some(&LEAF_TAG) {
            let leaf = Leaf::decode(bytes)?;
            return Ok(Self::Data(leaf.chunks.into_iter().map(|chunk| chunk.id).collect()));
        }
        let node = InnerNode::decode(bytes)?;
        Ok(Self::Nodes(node.children.into_iter().flatten().collect()))
    }
}

fn check_tag(reader: &mut Reader<'_>, tag: u8) -> Result<()> {
    if reader.u8()? != tag {
        return Err(reader.error("is something else"));
    }
    let version = reader.u8()?;
    if version == VERSION {
        return Ok(());
    }
    let context =
        format!("a node of a disk map of format version {version}; this program reads version {VERSION}");
    Err(crate::Error::new(crate::ErrorKind::UnsupportedVersion, context)
        .with_guidance("use a newer release of Holdfast for this vault"))
}
