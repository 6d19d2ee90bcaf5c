//! The first words both ways. Their layout never changes, whatever the protocol becomes: a stale daemon after an upgrade
//! must still be able to say which one it is.

/// Marks the beginning of a Hello.
const MAGIC: [u8; 8] = *b"engramd\0";

/// Bytes before the build's text: magic, protocol, pid, length of the text.
pub const HEAD_BYTES: usize = 8 + 4 + 4 + 2;

/// The build's text is cut to this many bytes.
pub const BUILD_BYTES_MAX: usize = 128;

/// Who speaks, and what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// The protocol of the frames that follow.
    pub protocol: u32,
    /// The speaker's process id.
    pub pid: u32,
    /// The speaker's version, such as `0.1.0`.
    pub build: String,
}

/// The other side is not one of ours.
#[derive(Debug, thiserror::Error)]
#[error("the other side of the socket did not say Hello: it is not engramd's")]
pub struct NotHello;

impl Hello {
    /// Makes the Hello of this program.
    #[must_use]
    pub fn ours(pid: u32) -> Self {
        Self { protocol: super::PROTOCOL, pid, build: crate::VERSION.to_owned() }
    }

    /// Writes it: magic, protocol, pid, length, text; numbers little-endian.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut end = self.build.len().min(BUILD_BYTES_MAX);
        while !self.build.is_char_boundary(end) {
            end -= 1;
        }
        let build = &self.build.as_bytes()[..end];
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.protocol.to_le_bytes());
        bytes.extend(self.pid.to_le_bytes());
        bytes.extend(u16::try_from(build.len()).unwrap_or_default().to_le_bytes());
        bytes.extend(build);
        bytes
    }

    /// Reads how many bytes of text follow the head.
    ///
    /// # Errors
    /// [`NotHello`] where the magic is another, or the text too long.
    pub fn build_bytes(head: &[u8; HEAD_BYTES]) -> Result<usize, NotHello> {
        let length = usize::from(u16::from_le_bytes([head[16], head[17]]));
        if head[..8] == MAGIC && length <= BUILD_BYTES_MAX { Ok(length) } else { Err(NotHello) }
    }

    /// Reads a Hello from its head and its text.
    ///
    /// # Errors
    /// [`NotHello`].
    pub fn decode(head: &[u8; HEAD_BYTES], build: &[u8]) -> Result<Self, NotHello> {
        if Self::build_bytes(head)? != build.len() {
            return Err(NotHello);
        }
        let number = |at: usize| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let build = String::from_utf8_lossy(build).into_owned();
        Ok(Self { protocol: number(8), pid: number(12), build })
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use super::*;

    /// The bytes are pinned: a program of any age must find them so.
    #[test]
    fn the_layout_never_changes() {
        let hello = Hello { protocol: 1, pid: 258, build: "0.1".to_owned() };
        let bytes = hello.encode();
        assert_eq!(bytes, b"engramd\0\x01\0\0\0\x02\x01\0\0\x03\x000.1");
        let head: [u8; HEAD_BYTES] = bytes[..HEAD_BYTES].try_into().unwrap();
        assert_eq!(Hello::decode(&head, &bytes[HEAD_BYTES..]).unwrap(), hello);
        assert!(Hello::build_bytes(b"GET / HTTP/1.1\r\nHo").is_err());
    }
}
