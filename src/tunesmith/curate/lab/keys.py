"""Invented secrets of every form, and rows that hold one."""

from __future__ import annotations

import random
import string
from collections.abc import Sequence

from tunesmith.core.records import Example, Message, Reply
from tunesmith.curate.lab.planted import Planted, numbered

_HEX = "0123456789abcdef"
_WORD = string.ascii_letters + string.digits
_URL = _WORD + "-_"
_BASE64 = _WORD + "+/"

FORMS: dict[str, str] = {
    "aws_access_key": "AKIA{16:up}",
    "aws_secret_key": "aws_secret_access_key = {40:b64}",
    "github_token": "ghp_{36:word}",
    "github_pat": "github_pat_{22:word}_{59:word}",
    "gitlab_token": "glpat-{20:url}",
    "slack_token": "xoxb-{12:num}-{12:num}-{24:word}",
    "slack_webhook": "https://hooks.slack.com/services/T{8:up}/B{8:up}/{24:word}",
    "stripe_key": "sk_live_{24:word}",
    "openai_key": "sk-proj-{48:url}",
    "anthropic_key": "sk-ant-api03-{93:url}AA",
    "huggingface_token": "hf_{34:word}",
    "google_api_key": "AIza{35:url}",
    "google_oauth": "GOCSPX-{28:url}",
    "azure_storage_key": "DefaultEndpointsProtocol=https;AccountName=store;AccountKey={86:b64}==",
    "azure_sas": "Endpoint=sb://bus.servicebus.windows.net/;SharedAccessKeyName=root;SharedAccessKey={43:b64}=",
    "azure_client_secret": "{3:word}8Q~{34:url}",
    "twilio_key": "SK{32:hex}",
    "sendgrid_key": "SG.{22:url}.{43:url}",
    "mailgun_key": "key-{32:hex}",
    "mailchimp_key": "{32:hex}-us14",
    "npm_token": "npm_{36:word}",
    "pypi_token": "pypi-AgEIcHlwaS5vcmc{70:url}",
    "jwt": "eyJhbGciOiJIUzI1NiJ9.eyJ{40:url}.{43:url}",
    "private_key": "-----BEGIN RSA PRIVATE KEY-----\n{64:b64}\n{64:b64}\n{64:b64}\n-----END RSA PRIVATE KEY-----",
    "connection_string": "postgresql://app:{14:word}@db.intern:5432/orders",
    "database_password": "Server=sql01;Database=crm;User Id=app;Password={14:word};",
    "digitalocean_token": "dop_v1_{64:hex}",
    "shopify_token": "shpat_{32:hex}",
    "square_token": "sq0atp-{22:url}",
    "telegram_token": "{9:num}:AA{33:url}",
    "discord_token": "discord token M{23:word}.{6:word}.{27:word}",
    "databricks_token": "dapi{32:hex}",
    "dropbox_token": "sl.{130:url}",
    "linear_notion": "lin_api_{40:word}",
    "newrelic_key": "NRAK-{27:up}",
    "grafana_token": "glsa_{32:word}_{8:hex}",
    "docker_token": "dckr_pat_{27:url}",
    "vault_token": "hvs.{90:url}",
    "age_key": "AGE-SECRET-KEY-1{58:age}",
    "atlassian_token": "ATATT3{180:url}",
    "groq_xai_key": "gsk_{52:word}",
    "basic_auth": "Authorization: Bearer {40:url}",
    "password": "Het wachtwoord is {9:word}7!",
    "named_secret": 'client_secret = "{32:word}"',
}
"""Kind of secret → its form; ``{16:up}`` stands for 16 random letters of an alphabet."""

_ALPHABETS = {
    "up": "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567",
    "word": _WORD,
    "url": _URL,
    "b64": _BASE64,
    "hex": _HEX,
    "num": "123456789",
    "age": "QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L",
}


def secret(kind: str, rng: random.Random) -> str:
    """An invented secret of this kind, with the words that stand around it."""
    pieces = []
    for piece in FORMS[kind].split("{"):
        head, closed, tail = piece.partition("}")
        if closed:
            length, _, alphabet = head.partition(":")
            letters = _ALPHABETS[alphabet]
            # the last letter is a plain one, as keys are not cut after a dash
            drawn = [rng.choice(letters) for _ in range(int(length) - 1)]
            pieces.append("".join(drawn) + rng.choice([letter for letter in letters if letter.isalnum()]) + tail)
        else:
            pieces.append(piece)
    return "".join(pieces)


def plant(rows: Sequence[Example], rate: float, rng: random.Random) -> Planted:
    """Rows of which a share holds a secret in its question."""
    planted, truth = [], {}
    for number, row in enumerate(rows):
        if rng.random() < rate and not row.is_document:
            kind = rng.choice(list(FORMS))
            turns = list(row.conversation)
            turns[0] = Message(role=turns[0].role, content=f"{turns[0].text}\n{secret(kind, rng)}\n")
            row = row.model_copy(update={"messages": tuple(turns[:-1]), "target": Reply(message=turns[-1])})
            truth[number] = kind
        planted.append(row)
    return Planted(numbered(planted), truth)
