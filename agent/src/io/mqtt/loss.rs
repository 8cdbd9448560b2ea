//! What went wrong on the link: one class for code and metrics, one sentence for people.

use std::error::Error;

use rumqttc::{ConnectReturnCode, ConnectionError, DisconnectReasonCode, Error as CodecError, StateError};

/// Why a connection ended, told apart by who has to act.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LossClass {
    /// No route, no name, refused, cut, silent: waiting helps.
    Network,
    /// The TLS handshake failed: certificates, names, clocks.
    Tls,
    /// The broker knows us and says no.
    Credentials,
    /// Our own settings or files are not usable.
    Configuration,
    /// Somebody else connected under our client id.
    TakenOver,
    /// The broker is there but will not serve us now.
    Busy,
    /// One side does not speak MQTT 5 as the other understands it.
    Protocol,
}

impl LossClass {
    /// A stable word for metrics and `status --json`.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Network => "network",
            Self::Tls => "tls",
            Self::Credentials => "credentials",
            Self::Configuration => "configuration",
            Self::TakenOver => "taken_over",
            Self::Busy => "busy",
            Self::Protocol => "protocol",
        }
    }
}

/// The broker's answer to one publish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PubResult {
    /// The broker has it.
    Accepted,
    /// The broker had it and nobody is subscribed (reason 16): the other side is away.
    NoSubscriber,
    /// Reason 135: the access rules do not let us write this topic. Sending it again will not help.
    NotAuthorised,
    /// Another refusal, by its MQTT reason code.
    Refused {
        /// MQTT 5 reason code, 128 or above.
        code: u8,
    },
}

impl PubResult {
    /// The client keeps this one back itself when CONNACK ruled retained messages out.
    pub(super) const RETAIN_NOT_SUPPORTED: Self = Self::Refused { code: 154 };

    pub(super) fn from_code(code: u8) -> Self {
        match code {
            16 => Self::NoSubscriber,
            135 => Self::NotAuthorised,
            0..128 => Self::Accepted,
            128.. => Self::Refused { code },
        }
    }
}

/// The end of a connection or of an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Loss {
    pub(super) class: LossClass,
    pub(super) reason: String,
}

impl Loss {
    fn new(class: LossClass, reason: impl Into<String>) -> Self {
        Self { class, reason: reason.into() }
    }

    pub(super) fn network(reason: impl Into<String>) -> Self {
        Self::new(LossClass::Network, reason)
    }

    pub(super) fn protocol(reason: impl Into<String>) -> Self {
        Self::new(LossClass::Protocol, reason)
    }

    pub(super) fn configuration(reason: impl Into<String>) -> Self {
        Self::new(LossClass::Configuration, reason)
    }

    pub(super) fn credentials(reason: impl Into<String>) -> Self {
        Self::new(LossClass::Credentials, reason)
    }

    /// `farewell` is the reason in a DISCONNECT that the client library did not understand.
    pub(super) fn from_connection(error: &ConnectionError, farewell: Option<DisconnectReasonCode>) -> Self {
        // A certificate problem arrives wrapped in whatever was being read or written at the time. With TLS 1.3 the
        // broker's refusal of our certificate even comes after our side of the handshake has succeeded.
        let io = io_error(error);
        if let Some(tls) = io.and_then(find_tls) {
            return Self::from_tls(tls);
        }
        if let Some(reason) = farewell {
            return Self::from_disconnect(reason, None);
        }
        if let Some(io) = io {
            return Self::from_io(io);
        }
        match error {
            ConnectionError::ConnectionRefused(code) => Self::from_connack(code),
            ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, reason_string }) => {
                Self::from_disconnect(*reason_code, reason_string.as_deref())
            }
            ConnectionError::Timeout(_) => Self::network("no answer from the broker within 10 s"),
            ConnectionError::MqttState(StateError::ConnectionAborted) => {
                Self::network("the broker closed the connection without a word")
            }
            ConnectionError::MqttState(StateError::AwaitPingResp) => {
                Self::network("the broker no longer answers pings")
            }
            ConnectionError::MqttState(StateError::Deserialization(error)) => Self::protocol(format!(
                "what came from there is not MQTT 5 ({error}); is it the right port, with TLS or without?"
            )),
            other => Self::protocol(with_causes(other)),
        }
    }

    fn from_io(error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Kind;
        Self::network(match error.kind() {
            Kind::UnexpectedEof => "the broker closed the connection without a word".to_owned(),
            Kind::ConnectionRefused | Kind::NotFound | Kind::TimedOut | Kind::HostUnreachable => {
                format!("{error}; check host, port and the way to the broker")
            }
            // The codec's word for an end within a packet.
            Kind::Other => format!("the connection ended amid a packet ({error}); is it the broker's port?"),
            _ => format!("the connection failed: {error}"),
        })
    }

    fn from_connack(code: &ConnectReturnCode) -> Self {
        use ConnectReturnCode as Code;
        let (class, hint) = match code {
            Code::NotAuthorized
            | Code::BadUserNamePassword
            | Code::Banned
            | Code::BadAuthenticationMethod => {
                (LossClass::Credentials, "check the certificate and the broker's access rules")
            }
            Code::BadClientId | Code::ClientIdentifierNotValid => {
                (LossClass::Configuration, "the client id must be the name in the certificate")
            }
            Code::ServiceUnavailable
            | Code::ServerUnavailable
            | Code::ServerBusy
            | Code::QuotaExceeded
            | Code::ConnectionRateExceeded
            | Code::UseAnotherServer => (LossClass::Busy, "trying again later"),
            Code::ServerMoved => (LossClass::Configuration, "set the broker's new address"),
            _ => (LossClass::Protocol, "is it an MQTT 5 broker?"),
        };
        Self::new(class, format!("the broker refused the connection: {code:?}; {hint}"))
    }

    fn from_disconnect(code: DisconnectReasonCode, why: Option<&str>) -> Self {
        use DisconnectReasonCode as Code;
        let class = match code {
            Code::SessionTakenOver => {
                return Self::new(
                    LossClass::TakenOver,
                    "another client connected under our client id; two boxes must not share an identity",
                );
            }
            Code::NotAuthorized => LossClass::Credentials,
            Code::KeepAliveTimeout => LossClass::Network,
            Code::NormalDisconnection
            | Code::ServerBusy
            | Code::ServerShuttingDown
            | Code::MessageRateTooHigh
            | Code::QuotaExceeded
            | Code::AdministrativeAction
            | Code::UseAnotherServer
            | Code::ConnectionRateExceeded
            | Code::MaximumConnectTime => LossClass::Busy,
            Code::ServerMoved => LossClass::Configuration,
            _ => LossClass::Protocol,
        };
        let why = why.map(|why| format!(" ({why})")).unwrap_or_default();
        Self::new(class, format!("the broker ended the connection: {code:?}{why}"))
    }

    fn from_tls(error: &rustls::Error) -> Self {
        use rustls::{AlertDescription as Alert, CertificateError as Certificate, Error as Tls};
        let hint = match error {
            Tls::InvalidCertificate(certificate) => match certificate {
                Certificate::UnknownIssuer => "the broker's certificate is not from the CA in our CA file",
                Certificate::NotValidForName | Certificate::NotValidForNameContext { .. } => {
                    "the broker's certificate is for another name; set `host` to a name that is in it"
                }
                Certificate::Expired | Certificate::ExpiredContext { .. } => {
                    "the broker's certificate has expired, or our clock is wrong"
                }
                Certificate::NotValidYet | Certificate::NotValidYetContext { .. } => {
                    "the broker's certificate is not valid yet, or our clock is wrong"
                }
                _ => "the broker's certificate is not acceptable",
            },
            Tls::AlertReceived(Alert::CertificateRequired) => "the broker wants a client certificate",
            Tls::AlertReceived(Alert::CertificateExpired) => "our certificate has expired; enroll again",
            Tls::AlertReceived(
                Alert::UnknownCA
                | Alert::BadCertificate
                | Alert::CertificateUnknown
                | Alert::CertificateRevoked
                | Alert::DecryptError
                | Alert::AccessDenied,
            ) => "the broker does not accept our certificate; enroll again",
            Tls::InvalidMessage(_) => "is this the TLS port of the broker?",
            _ => "check certificates, clock and port",
        };
        Self::new(LossClass::Tls, format!("TLS: {error}; {hint}"))
    }
}

/// Wherever the client library puts what a socket said, which is not always where `source` finds it.
fn io_error(error: &ConnectionError) -> Option<&std::io::Error> {
    match error {
        ConnectionError::Io(error)
        | ConnectionError::MqttState(StateError::Io(error))
        | ConnectionError::MqttState(StateError::Deserialization(CodecError::Io(error))) => Some(error),
        _ => None,
    }
}

fn find_tls(error: &std::io::Error) -> Option<&rustls::Error> {
    error.get_ref().and_then(|inner| inner.downcast_ref())
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let cause_text = cause.to_string();
        // Some of the library's errors repeat their cause in their own text.
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(error: ConnectionError, class: LossClass, says: &str) {
        check_with(error, None, class, says);
    }

    fn check_with(
        error: ConnectionError,
        farewell: Option<DisconnectReasonCode>,
        class: LossClass,
        says: &str,
    ) {
        let loss = Loss::from_connection(&error, farewell);
        assert_eq!(loss.class, class, "{loss:?}");
        assert!(loss.reason.contains(says), "{loss:?} does not say {says:?}");
    }

    #[test]
    fn every_end_has_the_class_of_who_must_act() {
        use std::io::{Error as Io, ErrorKind};
        let refused = Io::from(ErrorKind::ConnectionRefused);
        check(ConnectionError::Io(refused), LossClass::Network, "check host, port");
        check(
            ConnectionError::MqttState(StateError::ConnectionAborted),
            LossClass::Network,
            "closed the connection",
        );
        check(
            ConnectionError::ConnectionRefused(ConnectReturnCode::NotAuthorized),
            LossClass::Credentials,
            "access rules",
        );
        check(
            ConnectionError::ConnectionRefused(ConnectReturnCode::ClientIdentifierNotValid),
            LossClass::Configuration,
            "client id",
        );
        check(
            ConnectionError::ConnectionRefused(ConnectReturnCode::ServerBusy),
            LossClass::Busy,
            "trying again later",
        );
        check(
            ConnectionError::ConnectionRefused(ConnectReturnCode::UnsupportedProtocolVersion),
            LossClass::Protocol,
            "MQTT 5",
        );
        let taken_over = StateError::ServerDisconnect {
            reason_code: DisconnectReasonCode::SessionTakenOver,
            reason_string: None,
        };
        let eof = StateError::Deserialization(CodecError::Io(Io::from(ErrorKind::UnexpectedEof)));
        let farewell = Some(DisconnectReasonCode::ServerShuttingDown);
        check_with(ConnectionError::MqttState(eof), farewell, LossClass::Busy, "ServerShuttingDown");
        check(ConnectionError::MqttState(taken_over), LossClass::TakenOver, "two boxes");
    }

    #[test]
    fn a_tls_fault_is_found_inside_an_io_error() {
        let alert = rustls::Error::AlertReceived(rustls::AlertDescription::CertificateExpired);
        let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, alert);
        let codec = StateError::Deserialization(CodecError::Io(wrapped));
        check(ConnectionError::MqttState(codec), LossClass::Tls, "enroll again");
        let issuer = rustls::Error::InvalidCertificate(rustls::CertificateError::UnknownIssuer);
        let wrapped = std::io::Error::new(std::io::ErrorKind::InvalidData, issuer);
        check(ConnectionError::Io(wrapped), LossClass::Tls, "CA file");
    }

    #[test]
    fn publish_answers() {
        for (code, result) in [
            (0, PubResult::Accepted),
            (16, PubResult::NoSubscriber),
            (135, PubResult::NotAuthorised),
            (151, PubResult::Refused { code: 151 }),
        ] {
            assert_eq!(PubResult::from_code(code), result);
        }
    }
}
