//! The two messages of remote write, and the headers that name them.
//!
//! Source: Prometheus Remote-Write 1.0 and 2.0, prometheus.io/docs/specs/prw.

/// Which message a request's body holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Message {
    /// `prometheus.WriteRequest`, remote write 1.0: every receiver takes it.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

impl Message {
    /// The protobuf name, as in `protobuf_message`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::V1 => "prometheus.WriteRequest",
            Self::V2 => "io.prometheus.write.v2.Request",
        }
    }

    /// The value of `Content-Type`. Version 1.0 knows no `proto` parameter, and old receivers refuse it.
    pub const fn content_type(self) -> &'static str {
        match self {
            Self::V1 => "application/x-protobuf",
            Self::V2 => "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        }
    }

    /// The value of `X-Prometheus-Remote-Write-Version`.
    pub const fn version(self) -> &'static str {
        match self {
            Self::V1 => "0.1.0",
            Self::V2 => "2.0.0",
        }
    }
}
