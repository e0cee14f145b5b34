//! Notices on Amazon SNS: `Publish`, one attempt a call; the pipeline retries.
//!
//! Limits are those of the API reference: a message of 256 KiB with its attributes, a subject of fewer than 100 characters of ASCII. A topic
//! whose name ends in `.fifo` gets the notice's domain as message group and its id for deduplication, so that a retry within five minutes
//! stays one message. A call goes to the region that the topic's ARN names, which need not be the gate's.

use aws_sdk_sns::Client;
use aws_sdk_sns::config::{Builder, Region};
use aws_sdk_sns::types::MessageAttributeValue;

use crate::aws::Fault;
use crate::model::Unsettled;
use crate::port::{BoxFuture, Dispatch, NoticeSink};

/// The longest message group and deduplication id, in characters.
const ID_CHARS_MAX: usize = 128;

/// SNS topics.
#[derive(Debug)]
pub struct SnsTopics {
    client: Client,
}

impl SnsTopics {
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn send(&self, dispatch: &Dispatch) -> Result<(), Unsettled> {
        let topic = &*dispatch.topic;
        let mut call = self.client.publish().topic_arn(topic).subject(&dispatch.subject).message(&dispatch.body);
        for (name, value) in [("domain", &*dispatch.domain), ("event", dispatch.event)] {
            call = call.message_attributes(name, attribute(value));
        }
        if topic.ends_with(".fifo") {
            call = call.message_group_id(id(&dispatch.domain)).message_deduplication_id(id(&dispatch.id));
        }
        let mut call = call.customize();
        if let Some(region) = region(topic) {
            call = call.config_override(Builder::new().region(Region::new(region.to_owned())));
        }
        call.send().await.map(drop).map_err(|error| Fault::of_call(&error).unsettled(&format!("SNS topic {topic:?}")))
    }
}

impl NoticeSink for SnsTopics {
    fn publish<'a>(&'a self, dispatch: &'a Dispatch) -> BoxFuture<'a, Result<(), Unsettled>> {
        Box::pin(self.send(dispatch))
    }
}

fn attribute(value: &str) -> MessageAttributeValue {
    MessageAttributeValue::builder().data_type("String").string_value(value).build().expect("it has a type")
}

/// What an ARN names: `arn:partition:sns:region:account:name`.
fn region(arn: &str) -> Option<&str> {
    arn.split(':').nth(3).filter(|region| !region.is_empty())
}

/// Letters, digits and punctuation of ASCII, which is all that message groups and deduplication ids take.
fn id(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_graphic() { c } else { '?' }).take(ID_CHARS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_is_of_the_region_that_its_arn_names() {
        assert_eq!(region("arn:aws:sns:eu-west-1:123456789012:quality.fifo"), Some("eu-west-1"));
        assert_eq!(region("arn:aws:sns::123456789012:quality"), None);
        assert_eq!(region("quality"), None);
    }

    #[test]
    fn ids_are_of_the_characters_that_sns_takes() {
        assert_eq!(id("orders-2 é"), "orders-2??");
        assert_eq!(id(&"é".repeat(300)).len(), ID_CHARS_MAX);
    }
}
