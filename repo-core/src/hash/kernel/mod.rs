//! Running the compression function of SHA-256 over the blocks of several messages at once.
//!
//! In: states and as many whole blocks for each. Out: the states after them. The SHA instructions of x86-64 take four
//! cycles to answer but accept a new question every second one, so that messages side by side keep them busy. Where
//! there is no kernel the `sha2` crate hashes one message after the other, and it is what every kernel is compared with.
//!
//! Time per byte on one core of a Zen 5: alone 0.55 ns, two messages 0.38, four 0.32. The bench `stages` measures it.

#[cfg(target_arch = "x86_64")]
mod x86;

/// Bytes that one application of the compression function takes in.
pub(super) const BLOCK: usize = 64;

/// As many messages as a kernel takes at once.
pub(super) const LANES: usize = 4;

/// What stands in a lane between blocks.
pub(super) type State = [u32; 8];

/// A kernel. That one exists says that the processor can run it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Kernel(());

impl Kernel {
    /// The kernel for this processor, if it has the instructions.
    #[cfg(target_arch = "x86_64")]
    pub(super) fn get() -> Option<Self> {
        use std::arch::is_x86_feature_detected as has;
        (has!("sha") && has!("avx")).then_some(Self(()))
    }

    /// The kernel for this processor, if it has the instructions.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn get() -> Option<Self> {
        None
    }

    /// Takes all blocks into each state; there are as many for each of them.
    #[cfg(target_arch = "x86_64")]
    #[expect(unsafe_code, reason = "calls kernels for processors that have them")]
    #[expect(clippy::unused_self, reason = "that there is a kernel is the proof that it may run")]
    pub(super) fn compress<const N: usize>(self, lanes: [(&mut State, &[u8]); N]) {
        // SAFETY: a kernel was only made where the processor has its instructions.
        unsafe { x86::compress(lanes) }
    }

    /// Takes all blocks into each state; there are as many for each of them.
    #[cfg(not(target_arch = "x86_64"))]
    pub(super) fn compress<const N: usize>(self, _: [(&mut State, &[u8]); N]) {
        unreachable!("there is no kernel for this processor");
    }
}
