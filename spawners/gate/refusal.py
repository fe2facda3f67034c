"""Why the gate did not do what it was asked for: a code that programs know, and a text for people."""

DETAIL_CHARACTERS = 500


class Refusal(Exception):
    """The end of a request. The codes are those of the protocol (`ErrorCode`)."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail[:DETAIL_CHARACTERS]
