"""EC2's errors, by code, with the HTTP status that the real service answers with."""

from __future__ import annotations

from xml.sax.saxutils import escape

from moto.ec2.exceptions import EC2ClientError

# Everything else is 400. https://docs.aws.amazon.com/AWSEC2/latest/APIReference/errors-overview.html
_STATUS = {
    "AuthFailure": 401,
    "UnauthorizedOperation": 403,
    "RequestExpired": 403,
    "InsufficientAddressCapacity": 500,
    "InsufficientCapacity": 500,
    "InsufficientHostCapacity": 500,
    "InsufficientInstanceCapacity": 500,
    "InsufficientReservedInstanceCapacity": 500,
    "InsufficientVolumeCapacity": 500,
    "InternalError": 500,
    "InternalFailure": 500,
    "RequestLimitExceeded": 503,
    "ServiceUnavailable": 503,
    "Unavailable": 503,
}

MESSAGES = {
    "AuthFailure": "AWS was not able to validate the provided access credentials",
    "IdempotentParameterMismatch": "The arguments differ from those of an earlier request with this client token.",
    "IdempotentInstanceTerminated": "The client token belongs to a request whose instance has been terminated.",
    "InsufficientInstanceCapacity": "There is not enough capacity in the Availability Zone for this instance type.",
    "InternalError": "An internal error has occurred",
    "RequestLimitExceeded": "Request limit exceeded.",
    "UnauthorizedOperation": "You are not authorized to perform this operation.",
    "VcpuLimitExceeded": "The request needs more vCPUs than the account's limit for this kind of instance allows.",
}


def status_of(code: str) -> int:
    """The HTTP status EC2 answers with for an error code."""
    return _STATUS.get(code, 400)


class Injected(Exception):
    """A fault somebody asked for. Not one of moto's errors, so that moto lets it pass: it would answer 400 to all."""

    def __init__(self, code: str, message: str | None) -> None:
        super().__init__(code)
        self.code = code
        self.message = message


class Refused(EC2ClientError):
    """An EC2 error; moto turns it into EC2's XML when it is raised inside of it."""

    def __init__(self, code: str, message: str | None = None) -> None:
        super().__init__(code, message or MESSAGES.get(code, f"The request was refused: {code}."))


def error_xml(code: str, message: str, request_id: str) -> bytes:
    """The body of an EC2 error answer."""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        f"<Response><Errors><Error><Code>{escape(code)}</Code><Message>{escape(message)}</Message></Error></Errors>"
        f"<RequestID>{request_id}</RequestID></Response>"
    ).encode()
