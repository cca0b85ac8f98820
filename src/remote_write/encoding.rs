//! How a body is compressed on its way: as everybody does, or as VictoriaMetrics does among its own.
//!
//! Remote write compresses with snappy. VictoriaMetrics also takes the message of 1.0 compressed with
//! zstd, under a header of its own; its vmagent speaks like that by default. On pages of Flink that is
//! 40 % of snappy's bytes for three times the work that encoding is otherwise, see
//! `benches/README.md`, so it is an option for relays that pay for traffic.
//!
//! Bodies are kept in snappy, which every receiver takes and which joins without being compressed
//! again, and are compressed anew when they are sent.
//!
//! Source: VictoriaMetrics, `app/vmagent/remotewrite/client.go` and
//! `lib/protoparser/promremotewrite/stream`.

use bytes::Bytes;

use super::Message;

/// The compression of a body.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Encoding {
    /// Snappy's raw format.
    #[default]
    Snappy,
    /// A frame of zstd, for messages of 1.0 only.
    Zstd,
}

impl Encoding {
    /// Each with its spelling in `compression`.
    pub const CHOICES: [(&str, Self); 2] = [("snappy", Self::Snappy), ("zstd", Self::Zstd)];

    /// The value of `Content-Encoding`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Snappy => "snappy",
            Self::Zstd => "zstd",
        }
    }

    /// The header that tells the version of the protocol, and its value.
    pub const fn version(self, message: Message) -> (&'static str, &'static str) {
        match self {
            Self::Snappy => ("X-Prometheus-Remote-Write-Version", message.version()),
            Self::Zstd => ("X-VictoriaMetrics-Remote-Write-Version", "1"),
        }
    }
}

/// A body that could not be compressed anew.
#[derive(Debug, thiserror::Error)]
pub enum ZstdError {
    /// It is not in snappy's raw format.
    #[error("the body cannot be decompressed")]
    Snappy(#[from] snap::Error),
    /// Zstd could not get its memory.
    #[error("the body cannot be compressed with zstd")]
    Zstd(#[from] std::io::Error),
}

/// The content of a body in snappy's raw format as one frame of zstd.
///
/// # Errors
/// When it is not in that format, or there is no memory.
pub fn zstd(body: &[u8]) -> Result<Bytes, ZstdError> {
    let raw = snap::raw::Decoder::new().decompress_vec(body)?;
    Ok(zstd::bulk::compress(&raw, LEVEL)?.into())
}

/// The fastest of zstd's usual levels. On pages of Flink level 3 saves 2 % more for a tenth more work,
/// level 6 saves 20 % more for eleven times the work.
const LEVEL: i32 = 1;
