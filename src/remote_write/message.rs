//! The two messages of remote write, and the headers that name them.
//!
//! Source: Prometheus Remote-Write 1.0 and 2.0, prometheus.io/docs/specs/prw.

/// Which message a request's body holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Message {
    /// `prometheus.WriteRequest`, remote write 1.0: nearly every receiver takes it.
    #[default]
    V1,
    /// `io.prometheus.write.v2.Request`, remote write 2.0.
    V2,
}

/// `protobuf_message`: which message a receiver is to get.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// 2.0 when the receiver understands it, else 1.0; found out by its answers.
    #[default]
    Auto,
    /// This one, whatever the receiver answers.
    Only(Message),
}

impl Message {
    /// Both.
    pub const ALL: [Self; 2] = [Self::V1, Self::V2];

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

impl Wanted {
    /// Each with its spelling in `protobuf_message`.
    pub const CHOICES: [(&str, Self); 3] = [
        ("auto", Self::Auto),
        (Message::V1.name(), Self::Only(Message::V1)),
        (Message::V2.name(), Self::Only(Message::V2)),
    ];
}
