use super::*;

fn refused(status: u16, code: &str) -> Failure {
    Failure::Refused { status, code: Some(code.to_owned()), message: None }
}

#[test]
fn codes_map_to_the_vocabulary() {
    use ErrorKind::{Auth, Capacity, Invalid, NotFound, Throttled, Unavailable};
    for (status, code, kind) in [
        (500, "InsufficientInstanceCapacity", Capacity),
        (500, "InsufficientHostCapacity", Capacity),
        (400, "VcpuLimitExceeded", Capacity),
        (400, "InstanceLimitExceeded", Capacity),
        (400, "MaxSpotInstanceCountExceeded", Capacity),
        (400, "InsufficientFreeAddressesInSubnet", Capacity),
        (400, "Unsupported", Capacity),
        (401, "AuthFailure", Auth),
        (403, "UnauthorizedOperation", Auth),
        (403, "InvalidClientTokenId", Auth),
        (403, "SignatureDoesNotMatch", Auth),
        (400, "RequestExpired", Auth),
        (400, "ExpiredToken", Auth),
        (503, "RequestLimitExceeded", Throttled),
        (400, "Throttling", Throttled),
        (400, "InvalidAMIID.NotFound", NotFound),
        (400, "InvalidSubnetID.NotFound", NotFound),
        (400, "InvalidInstanceID.NotFound", NotFound),
        (400, "InvalidGroup.NotFound", NotFound),
        (400, "IncorrectInstanceState", Unavailable),
        (400, "InvalidParameterValue", Invalid),
        (400, "InvalidAMIID.Malformed", Invalid),
        (400, "MissingParameter", Invalid),
        (400, "OperationNotPermitted", Invalid),
    ] {
        // What EC2 says about a request does not depend on what the request was for.
        for effect in [Effect::Read, Effect::Write] {
            assert_eq!(refused(status, code).kind(effect), kind, "{code}");
        }
    }
}

#[test]
fn doubt_depends_on_the_effect() {
    let in_doubt = [
        refused(500, "InternalError"),
        refused(503, "ServiceUnavailable"),
        refused(503, "Unavailable"),
        Failure::Refused { status: 502, code: None, message: None },
        Failure::Lost("connection reset".into()),
    ];
    for failure in in_doubt {
        assert_eq!(failure.kind(Effect::Read), ErrorKind::Unavailable, "{failure:?}");
        assert_eq!(failure.kind(Effect::Write), ErrorKind::UnknownOutcome, "{failure:?}");
    }
    let certain = [
        (Failure::NotSent("refused".into()), ErrorKind::Unavailable),
        (Failure::NoCredentials(true, "timed out".into()), ErrorKind::Unavailable),
        (Failure::NoCredentials(false, "none".into()), ErrorKind::Auth),
        (Failure::Refused { status: 403, code: None, message: None }, ErrorKind::Auth),
        (Failure::Refused { status: 429, code: None, message: None }, ErrorKind::Throttled),
        (Failure::Refused { status: 404, code: None, message: None }, ErrorKind::Unavailable),
    ];
    for (failure, kind) in certain {
        assert_eq!(failure.kind(Effect::Write), kind, "{failure:?}");
    }
}

#[test]
fn secrets_stay_out_of_words() {
    // Put together here so that no scanner takes it for a real key.
    let id = format!("AKIA{}", "IOSFODNN7EXAMPLE");
    let token = "FwoGZXIvYXdzEBYaDKQ9".repeat(4);
    for words in [
        format!("The AWS Access Key Id you provided ({id}) does not exist"),
        format!("not authorized. Encoded authorization failure message: {token}"),
        format!("the canonical string was x-amz-security-token:{token}"),
        format!("bad signature\nx-amz-security-token:{token}\n{id}"),
    ] {
        let text = redact(&words);
        assert!(!text.contains(&id) && !text.contains(&token), "{text}");
    }
    let plain = "The image id '[ami-0abc1234def567890]' does not exist in arn:aws:ec2:eu-west-2:123456789012:image";
    assert_eq!(redact(plain), plain);
    assert!(redact(&"word ".repeat(1000)).len() <= MAX_WORDS);
}
