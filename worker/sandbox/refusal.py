"""What the sandbox says no to, in the provider's words.

    Refused    one call, answered with `{"requestId": …, "error": {…}}`

Status strings are those of JD's gateway documentation, its spelling of NOT_EXITST included.
"""


class Refused(Exception):
    """One call is refused; the message is ours and never quotes the request."""

    def __init__(self, code: int, status: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.status = status
        self.message = message


def lacks(what: str) -> Refused:
    """Return the refusal of a request that lacks a header or a signed header."""
    return Refused(401, "APIGW_LACK_PARAMS", f"missing or not signed: {what}")


def illegal_header(what: str) -> Refused:
    """Return the refusal of a header whose value cannot be read."""
    return Refused(401, "APIGW_ILLEGAL_HEADER", f"illegal header: {what}")


def unknown_key() -> Refused:
    """Return the refusal of an access key, or session token, that is not ours."""
    return Refused(401, "APIGW_KEY_NOT_EXITST", "错误的密钥")


def wrong_signature(why: str) -> Refused:
    """Return the refusal of a signature that is not the one we compute."""
    return Refused(401, "APIGW_SIGN_RESULT_NOT_SAME", f"签名不一致: {why}")


def nonce_conflict() -> Refused:
    """Return the refusal of a nonce that was already used."""
    return Refused(403, "APIGW_NONCE_CONFLICT", "重复访问")


def invalid_argument(why: str) -> Refused:
    """Return the refusal of a body that is not one row of the document's table."""
    return Refused(400, "INVALID_ARGUMENT", why)
