//! What the AWS sources and sinks share: clients from the standard chain, what AWS errors mean, a stream's shards.
//!
//! Region, credentials and endpoints come from where every AWS tool takes them (environment, profile, web identity,
//! container, instance). The SDK's own retries are off: a delivery (`gate::delivery`) or a reader decides what is tried again,
//! and two layers of retries would multiply. Every wait is bounded.

mod endpoint;
mod fault;
mod propagate;
mod shards;

use std::net::SocketAddr;
use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_sdk_kinesis::config::interceptors::BeforeTransmitInterceptorContextMut;
use aws_sdk_kinesis::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_kinesis::error::BoxError;

use crate::port::INSTANCE_HEADER;

pub use endpoint::{Endpoint, is_self};
pub use fault::Fault;
pub use propagate::Propagated;
pub use shards::{hash_key_range, shards};

/// To open a connection. The SDKs' own default of 2026.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3_100);

/// How to reach AWS. What is not named comes from the standard chain.
#[derive(Debug, Clone)]
pub struct AwsOptions {
    pub region: Option<String>,
    /// URLs that win over the standard chain's.
    pub kinesis_endpoint: Option<String>,
    pub sqs_endpoint: Option<String>,
    pub sns_endpoint: Option<String>,
    pub dynamodb_endpoint: Option<String>,
    pub s3_endpoint: Option<String>,
    /// Where this process listens: never taken from the standard chain as an upstream.
    pub own_addresses: Vec<SocketAddr>,
    /// Names this process in [`INSTANCE_HEADER`]; visible ASCII.
    pub instance: String,
    /// One call with all that belongs to it: credentials, connecting, sending, reading.
    pub call_timeout: Duration,
}

impl AwsOptions {
    /// Everything from the standard chain, 10 s a call. `instance` should be unique to this process.
    pub fn new(instance: impl Into<String>) -> Self {
        Self {
            region: None,
            kinesis_endpoint: None,
            sqs_endpoint: None,
            sns_endpoint: None,
            dynamodb_endpoint: None,
            s3_endpoint: None,
            own_addresses: Vec::new(),
            instance: instance.into(),
            call_timeout: Duration::from_secs(10),
        }
    }
}

/// Why no clients could be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AwsError {
    #[error(
        "no AWS region is known: set one in the gate's own settings, in AWS_REGION or in the AWS profile; \
         nothing was started"
    )]
    NoRegion,
    #[error("{0:?} cannot be sent in a header: the instance's name must be visible ASCII; nothing was started")]
    BadInstance(String),
}

/// Clients for the gate's upstream.
#[derive(Debug, Clone)]
pub struct Clients {
    pub kinesis: aws_sdk_kinesis::Client,
    pub sqs: aws_sdk_sqs::Client,
    pub sns: aws_sdk_sns::Client,
    pub dynamodb: aws_sdk_dynamodb::Client,
    pub s3: aws_sdk_s3::Client,
    /// Where the clients call, for the start-up log.
    pub kinesis_endpoint: Endpoint,
    pub sqs_endpoint: Endpoint,
    pub sns_endpoint: Endpoint,
    pub dynamodb_endpoint: Endpoint,
    pub s3_endpoint: Endpoint,
    pub region: String,
}

impl Clients {
    /// Reads the standard chain (environment, profile files; the region perhaps from the instance's metadata) and builds
    /// the clients. Credentials are looked up with the first call, not here.
    pub async fn load(options: &AwsOptions) -> Result<Self, AwsError> {
        let mut loader = aws_config::defaults(BehaviorVersion::v2026_01_12());
        if let Some(region) = &options.region {
            loader = loader.region(Region::new(region.clone()));
        }
        Self::from_sdk_config(&loader.load().await, options)
    }

    /// Builds the clients from a loaded chain. Warns once for each service whose configured endpoint is the gate itself.
    pub fn from_sdk_config(sdk: &SdkConfig, options: &AwsOptions) -> Result<Self, AwsError> {
        let region = options.region.clone().or_else(|| sdk.region().map(ToString::to_string));
        let region = region.ok_or(AwsError::NoRegion)?;
        let instance = Instance::new(&options.instance)?;
        let sdk = sdk
            .to_builder()
            .region(Region::new(region.clone()))
            .retry_config(RetryConfig::disabled())
            .timeout_config(timeouts(options.call_timeout))
            .app_name(AppName::new("meshgate").expect("a valid name"))
            .build();

        let own = &options.own_addresses;
        let kinesis_endpoint = Endpoint::choose(options.kinesis_endpoint.as_deref(), &sdk, "Kinesis", own);
        let sqs_endpoint = Endpoint::choose(options.sqs_endpoint.as_deref(), &sdk, "SQS", own);
        let sns_endpoint = Endpoint::choose(options.sns_endpoint.as_deref(), &sdk, "SNS", own);
        let dynamodb_endpoint = Endpoint::choose(options.dynamodb_endpoint.as_deref(), &sdk, "DynamoDB", own);
        let s3_endpoint = Endpoint::choose(options.s3_endpoint.as_deref(), &sdk, "S3", own);
        warn_if_ignored("kinesis", &kinesis_endpoint);
        warn_if_ignored("sqs", &sqs_endpoint);
        warn_if_ignored("sns", &sns_endpoint);
        warn_if_ignored("dynamodb", &dynamodb_endpoint);
        warn_if_ignored("s3", &s3_endpoint);

        // `Builder::from` reads the chain's endpoint; setting it afterwards, even to none, is final.
        let mut kinesis = aws_sdk_kinesis::config::Builder::from(&sdk).interceptor(instance);
        kinesis.set_endpoint_url(kinesis_endpoint.url().map(str::to_owned));
        let mut sqs = aws_sdk_sqs::config::Builder::from(&sdk);
        sqs.set_endpoint_url(sqs_endpoint.url().map(str::to_owned));
        let mut sns = aws_sdk_sns::config::Builder::from(&sdk);
        sns.set_endpoint_url(sns_endpoint.url().map(str::to_owned));
        let mut dynamodb = aws_sdk_dynamodb::config::Builder::from(&sdk);
        dynamodb.set_endpoint_url(dynamodb_endpoint.url().map(str::to_owned));
        // An endpoint of one's own seldom answers under a name for each bucket.
        let mut s3 = aws_sdk_s3::config::Builder::from(&sdk).force_path_style(s3_endpoint.url().is_some());
        s3.set_endpoint_url(s3_endpoint.url().map(str::to_owned));
        Ok(Self {
            kinesis: aws_sdk_kinesis::Client::from_conf(kinesis.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs.build()),
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
            dynamodb: aws_sdk_dynamodb::Client::from_conf(dynamodb.build()),
            s3: aws_sdk_s3::Client::from_conf(s3.build()),
            kinesis_endpoint,
            sqs_endpoint,
            sns_endpoint,
            dynamodb_endpoint,
            s3_endpoint,
            region,
        })
    }
}

fn timeouts(call: Duration) -> TimeoutConfig {
    TimeoutConfig::builder()
        .connect_timeout(CONNECT_TIMEOUT.min(call))
        .read_timeout(call)
        .operation_attempt_timeout(call)
        .operation_timeout(call)
        .build()
}

fn warn_if_ignored(service: &'static str, endpoint: &Endpoint) {
    if let Endpoint::RegionalNotSelf { .. } = endpoint {
        tracing::warn!(
            service,
            "the AWS endpoint in the environment or profile is this gate itself: ignored for the gate's own calls, \
             which go to the region's endpoint; set an endpoint in the gate's own settings to say otherwise"
        );
    }
}

/// Adds [`INSTANCE_HEADER`] to each request, before it is signed.
#[derive(Debug)]
struct Instance(String);

impl Instance {
    fn new(name: &str) -> Result<Self, AwsError> {
        let visible = !name.is_empty() && name.bytes().all(|b| b.is_ascii_graphic());
        visible.then(|| Self(name.to_owned())).ok_or_else(|| AwsError::BadInstance(name.to_owned()))
    }
}

impl Intercept for Instance {
    fn name(&self) -> &'static str {
        "MeshgateInstance"
    }

    fn modify_before_signing(
        &self,
        context: &mut BeforeTransmitInterceptorContextMut<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        context.request_mut().headers_mut().insert(INSTANCE_HEADER, self.0.clone());
        Ok(())
    }
}
