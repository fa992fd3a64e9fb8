//! The frames of a stack: who names them is for the caller to say.

use shm_protocol::view::ModuleInfo;
use shm_protocol::words;

use crate::model::Frame;

/// Turns frames of a segment into names and lines.
pub trait Symbolise {
    /// All calls of one stack, innermost first, inlined ones included.
    fn stack(&mut self, modules: &[ModuleInfo], frames: &[words::Frame]) -> Vec<Frame>;
}

/// Frames without names: module and offset only.
#[derive(Debug, Default, Clone, Copy)]
pub struct Offsets;

impl Symbolise for Offsets {
    fn stack(&mut self, modules: &[ModuleInfo], frames: &[words::Frame]) -> Vec<Frame> {
        frames
            .iter()
            .map(|frame| offset_only(modules, *frame))
            .collect()
    }
}

fn offset_only(modules: &[ModuleInfo], frame: words::Frame) -> Frame {
    match frame {
        words::Frame::Native { module, offset } => Frame {
            module: modules
                .iter()
                .find(|known| known.id == module)
                .map(|known| known.path.clone()),
            offset: Some(offset),
            ..Frame::default()
        },
        words::Frame::Raw(address) => Frame {
            offset: Some(address),
            ..Frame::default()
        },
        words::Frame::Name(_) => Frame::default(),
    }
}
