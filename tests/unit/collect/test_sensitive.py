"""Names of secrets: those that are listed, and those that programs make of them."""

from __future__ import annotations

import pytest

from services.collect import sensitive


@pytest.mark.parametrize(
    "name",
    ["db_password", "DB_PASSWORD", "dbPassword", "smtpPassword2", "userpassword", "password_hash",
     "user[db_password]", "config.smtp.password", "sig", "X-Hub-Signature-256", "pin", "userPin",
     "PIN", "cvv", "CVV2", "cardCvc", "cardNumber", "card_number", "sessionId", "session-id",
     "PHPSESSID", "JSESSIONID", "credentials", "aws-credentials", "bot-token", "otp", "loginOtp",
     "secretAccessKey", "aws_access_key", "x-api-key-2", "CLIENT_SECRET", "ssn", "tokens",
     "apiKeys", "secrets", "accessTokens", "refresh_tokens", "X-Api-Keys", "pass", "db_pass",
     "dbPass", "cookies", "max_tokens"],
)  # fmt: skip
def test_names_of_secrets_are_known_however_their_words_are_joined(name: str) -> None:
    rule = sensitive.rule(name)
    assert rule is not None
    assert sensitive.rule(rule) is not None


@pytest.mark.parametrize(
    "name",
    ["shipping", "mapping", "opinion", "design", "signup", "author", "keyboard", "id", "code",
     "token_type", "nextPageToken", "nextPageTokens", "next_token", "continuationToken",
     "Access-Control-Allow-Credentials", "idempotency-key", "cache_key", "Sec-WebSocket-Key",
     "secret_name", "passenger", "cardinality", "spinning", "session", "tokenizer", "bypass",
     "compass", "passes", "tokens_used", "promptTokenCount"],
)  # fmt: skip
def test_names_that_only_look_like_those_of_secrets_are_not(name: str) -> None:
    assert sensitive.rule(name) is None


@pytest.mark.parametrize(
    "name",
    ["max_tokens", "maxTokens", "prompt_tokens", "completion_tokens", "total_tokens",
     "cache_read_input_tokens", "usage[total_tokens]", "x-ratelimit-remaining-tokens"],
)  # fmt: skip
def test_how_many_tokens_is_no_secret_and_anything_else_under_that_name_is(name: str) -> None:
    assert sensitive.rule(name, "4096") is None
    assert sensitive.rule(name, "s3cret") == "token"


@pytest.mark.parametrize("name", ["tokens", "access_tokens", "pin", "token"])
def test_a_number_may_be_a_secret(name: str) -> None:
    assert sensitive.rule(name, "4096") is not None
