//! Frames: a little-endian `u32` length and a `bincode` body. The one place that knows the `bincode` crate.

use super::FRAME_BYTES_MAX;
use serde::Serialize;
use serde::de::DeserializeOwned;

/// Bytes of a frame's length.
pub const LENGTH_BYTES: usize = 4;

/// What is wrong with a frame.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// Larger than [`FRAME_BYTES_MAX`].
    #[error("a frame of {0} bytes is larger than {FRAME_BYTES_MAX}")]
    TooLarge(usize),
    /// It does not decode, or a newer program wrote it.
    #[error("a frame that does not decode: {0}")]
    Garbled(String),
    /// Bytes were left over after the value.
    #[error("a frame with {0} bytes left over")]
    LeftOver(usize),
}

fn config() -> impl bincode::config::Config {
    bincode::config::standard().with_limit::<FRAME_BYTES_MAX>()
}

/// Writes a value as a frame, its length included.
///
/// # Errors
/// [`FrameError::TooLarge`] where it would not fit, [`FrameError::Garbled`] for a type that cannot cross.
pub fn encode<T: Serialize>(value: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    bincode::serde::encode_into_std_write(value, &mut frame, config())
        .map_err(|error| FrameError::Garbled(error.to_string()))?;
    let length = frame.len() - LENGTH_BYTES;
    let prefix = u32::try_from(length).ok().filter(|_| length <= FRAME_BYTES_MAX);
    frame[..LENGTH_BYTES].copy_from_slice(&prefix.ok_or(FrameError::TooLarge(length))?.to_le_bytes());
    Ok(frame)
}

/// Reads the length that stands before a body.
///
/// # Errors
/// [`FrameError::TooLarge`], before a byte of the body was read or any room made for it (DOOR-1).
pub fn body_bytes(prefix: [u8; LENGTH_BYTES]) -> Result<usize, FrameError> {
    let length = u32::from_le_bytes(prefix) as usize;
    if length > FRAME_BYTES_MAX { Err(FrameError::TooLarge(length)) } else { Ok(length) }
}

/// Reads a value from a frame's body.
///
/// # Errors
/// [`FrameError::Garbled`] and [`FrameError::LeftOver`].
pub fn decode<T: DeserializeOwned>(body: &[u8]) -> Result<T, FrameError> {
    let (value, used) =
        bincode::serde::decode_from_slice(body, config()).map_err(|error| FrameError::Garbled(error.to_string()))?;
    if used == body.len() { Ok(value) } else { Err(FrameError::LeftOver(body.len() - used)) }
}
