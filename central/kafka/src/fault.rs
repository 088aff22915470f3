//! What librdkafka says went wrong.

use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// An error's text. Of a configuration that is refused, the error's own text has the property's value too: a password,
/// where a name is misspelt.
pub fn reason(error: &KafkaError) -> String {
    if let KafkaError::ClientConfig(_, description, _, _) = error {
        description.clone()
    } else {
        error.to_string()
    }
}

/// Keeps in `known` why nothing is answered: that all brokers are down is said after why one of them is.
pub fn retell(known: &mut Option<String>, error: &KafkaError, reason: &str) {
    if error.rdkafka_error_code() != Some(RDKafkaErrorCode::AllBrokersDown) || known.is_none() {
        *known = Some(reason.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rdkafka::config::ClientConfig;
    use rdkafka::producer::BaseProducer;

    #[test]
    fn a_misspelt_property_is_named_without_its_value() {
        let made: Result<BaseProducer, KafkaError> =
            ClientConfig::new().set("sasl_password", "hunter2").create();
        let reason = reason(&made.err().unwrap());
        assert!(
            reason.contains("sasl_password") && !reason.contains("hunter2"),
            "{reason}"
        );
    }

    #[test]
    fn why_one_broker_is_down_outlives_that_all_are() {
        let (one, all) = (
            KafkaError::Global(RDKafkaErrorCode::BrokerTransportFailure),
            KafkaError::Global(RDKafkaErrorCode::AllBrokersDown),
        );
        let mut known = None;
        retell(&mut known, &all, "all down");
        assert_eq!(known.as_deref(), Some("all down"));
        retell(&mut known, &one, "refused");
        retell(&mut known, &all, "all down");
        assert_eq!(known.as_deref(), Some("refused"));
    }
}
