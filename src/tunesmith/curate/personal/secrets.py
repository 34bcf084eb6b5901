"""Secrets: keys, tokens and passwords. The table of forms, and what a report may show of one.

A form is looked for only where its fixed letters stand, so that a text without any costs some forty searches for words.
Sources of the forms: the issuers' documentation and the public rules of gitleaks (MIT) and detect-secrets (Apache-2.0).
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from tunesmith.curate.personal.found import Found


@dataclass(frozen=True, eq=False)
class Secret:
    """A kind of secret: words of which one must stand in the text, its form, and the least entropy (bits a letter).

    A form with a group named ``value`` marks only that part.
    """

    kind: str
    title: str
    hints: tuple[str, ...]
    form: re.Pattern[str]
    entropy: float = 0.0
    apart: bool = False
    """The word (then in lower case) may stand apart from the secret; else it is the beginning or a part of it."""


def _secret(kind: str, title: str, hints: str, form: str, entropy: float = 0.0, *, apart: bool = False) -> Secret:
    return Secret(kind, title, tuple(hints.split()), re.compile(form), entropy, apart)


_B = r"(?<![A-Za-z0-9_\-])"
_E = r"(?![A-Za-z0-9_\-])"
_NAMED = r"[\"'`]?\s{0,3}(?:=>|:=|=|:)\s{0,3}[\"'`]?"

SECRETS = (
    _secret(
        "aws_access_key",
        "AWS access key id",
        "AKIA ASIA ABIA ACCA",
        rf"{_B}(?:AKIA|ASIA|ABIA|ACCA)[A-Z2-7]{{16}}{_E}",
        2.5,
    ),
    _secret(
        "aws_secret_key",
        "AWS secret access key",
        "aws",
        rf"(?i:aws[\w.\- ]{{0,24}}(?:secret|"
        rf"key)[\w.\- ]{{0,20}}){_NAMED}(?P<value>[A-Za-z0-9/+]{{40}})(?![A-Za-z0-9/+=])",
        4.0,
        apart=True,
    ),
    _secret(
        "github_token", "GitHub token", "ghp_ gho_ ghu_ ghs_ ghr_", rf"{_B}gh[pousr]_[A-Za-z0-9]{{36,255}}{_E}", 3.0
    ),
    _secret("github_pat", "GitHub fine-grained token", "github_pat_", rf"{_B}github_pat_[A-Za-z0-9_]{{22,255}}", 3.0),
    _secret(
        "gitlab_token",
        "GitLab token",
        "glpat- gldt- glrt- glptt- glsoat- glcbt- glft- glimt-",
        rf"{_B}gl(?:pat|dt|rt|ptt|soat|cbt|ft|imt)-[A-Za-z0-9_.\-]{{20,64}}",
        3.0,
    ),
    _secret(
        "slack_token",
        "Slack token",
        "xoxb- xoxp- xoxa- xoxr- xoxs- xoxe xapp-",
        rf"{_B}(?:xox[abeprs]|xoxe\.xox[bp]|xapp)-[A-Za-z0-9\-]{{10,250}}",
        2.5,
    ),
    _secret(
        "slack_webhook",
        "Slack webhook",
        "hooks.slack.com",
        r"hooks\.slack\.com/(?:services|workflows|triggers)/[A-Za-z0-9+/]{43,90}",
        3.0,
    ),
    _secret(
        "stripe_key",
        "Stripe key",
        "sk_live_ sk_test_ rk_live_ rk_test_ whsec_",
        rf"{_B}(?:(?:sk|rk)_(?:live|test)_[A-Za-z0-9]{{16,247}}|whsec_[A-Za-z0-9+/=]{{24,80}})",
        3.0,
    ),
    _secret(
        "openai_key",
        "OpenAI key",
        "sk-",
        rf"{_B}sk-(?:proj-|svcacct-|admin-|None-)?(?=[A-Za-z0-9_\-]{{20,}})(?!ant-|or-)[A-Za-z0-9_\-]{{20,200}}",
        3.5,
    ),
    _secret("anthropic_key", "Anthropic key", "sk-ant-", rf"{_B}sk-ant-[A-Za-z0-9_\-]{{24,200}}", 3.0),
    _secret(
        "huggingface_token", "Hugging Face token", "hf_ api_org_", rf"{_B}(?:hf_|api_org_)[A-Za-z0-9]{{30,64}}{_E}", 3.0
    ),
    _secret("google_api_key", "Google API key", "AIza", rf"{_B}AIza[A-Za-z0-9_\-]{{35}}{_E}", 3.0),
    _secret(
        "google_oauth",
        "Google OAuth token or secret",
        "ya29. GOCSPX-",
        rf"{_B}(?:ya29\.[A-Za-z0-9_\-]{{20,400}}|GOCSPX-[A-Za-z0-9_\-]{{28}}{_E})",
        3.0,
    ),
    _secret("azure_storage_key", "Azure storage key", "AccountKey", r"AccountKey=(?P<value>[A-Za-z0-9+/]{86}==)", 4.0),
    _secret(
        "azure_sas",
        "Azure SAS or Service Bus key",
        "SharedAccessKey sig=",
        r"(?:SharedAccessKey=|[?&]sig=)(?P<value>[A-Za-z0-9+/%]{40,100}(?:=|%3D){0,2})",
        4.0,
    ),
    _secret(
        "azure_client_secret",
        "Azure client secret",
        "Q~",
        r"(?<![A-Za-z0-9_~.\-])[A-Za-z0-9_~.]{3}[0-9]Q~[A-Za-z0-9_~.\-]{31,34}(?![A-Za-z0-9_~.\-])",
        3.0,
    ),
    _secret("twilio_key", "Twilio key", "SK AC", rf"{_B}(?:SK|AC)[0-9a-f]{{32}}{_E}", 3.0),
    _secret("sendgrid_key", "SendGrid key", "SG.", rf"{_B}SG\.[A-Za-z0-9_\-]{{16,32}}\.[A-Za-z0-9_\-]{{16,64}}", 3.5),
    _secret("mailgun_key", "Mailgun key", "key- pubkey-", rf"{_B}(?:pub)?key-[0-9a-f]{{32}}{_E}", 3.0),
    _secret("mailchimp_key", "Mailchimp key", "-us", rf"{_B}[0-9a-f]{{32}}-us[0-9]{{1,2}}{_E}", 3.0),
    _secret("npm_token", "npm token", "npm_", rf"{_B}npm_[A-Za-z0-9]{{36}}{_E}", 3.0),
    _secret("pypi_token", "PyPI token", "pypi-", rf"{_B}pypi-AgE[A-Za-z0-9_\-]{{50,400}}", 3.0),
    _secret(
        "jwt",
        "JSON web token",
        "eyJ",
        rf"{_B}eyJ[A-Za-z0-9_\-]{{8,}}\.eyJ[A-Za-z0-9_\-]{{8,}}\.[A-Za-z0-9_\-]{{10,}}",
        3.0,
    ),
    _secret(
        "private_key",
        "private key",
        "-----begin",
        r"-----BEGIN (?:[A-Z0-9]{1,12} ){0,3}PRIVATE KEY(?: BLOCK)?-----"
        r"(?:[\s\S]{60,8000}?-----END [A-Z0-9 ]{0,40}-----|[A-Za-z0-9+/=\s\\]{60,8000})",
        apart=True,
    ),
    _secret(
        "connection_string",
        "connection string with a password",
        "://",
        r"(?<![A-Za-z0-9])[A-Za-z][A-Za-z0-9+.\-]{1,20}://[^\s:/@\"'<>{}$]{0,"
        r"64}:(?P<value>[^\s:/@\"'<>{}$\[\]*]{3,128})@[A-Za-z0-9\[]",
        apart=True,
    ),
    _secret(
        "database_password",
        "password of a connection",
        "password= pwd=",
        r"(?i)(?:server|data source|host|user id|uid|database|"
        r"initial catalog)=[^;\n]{1,80};(?:[^\n]{0,160};)?\s?(?:password|pwd)=(?P<value>[^;\s\"']{4,128})",
        apart=True,
    ),
    _secret(
        "digitalocean_token",
        "DigitalOcean token",
        "dop_v1_ doo_v1_ dor_v1_",
        rf"{_B}do[opr]_v1_[0-9a-f]{{64}}{_E}",
        3.0,
    ),
    _secret(
        "shopify_token",
        "Shopify token",
        "shpat_ shpca_ shppa_ shpss_",
        rf"{_B}shp(?:at|ca|pa|ss)_[0-9a-fA-F]{{32}}{_E}",
        3.0,
    ),
    _secret(
        "square_token",
        "Square token",
        "EAAA sq0atp- sq0csp-",
        rf"{_B}(?:sq0(?:atp|csp)-[A-Za-z0-9_\-]{{22,43}}|EAAA[A-Za-z0-9_\-]{{60}}){_E}",
        3.5,
    ),
    _secret(
        "telegram_token",
        "Telegram bot token",
        ":AA",
        r"(?<![A-Za-z0-9])[0-9]{8,10}:AA[A-Za-z0-9_\-]{33}(?![A-Za-z0-9_\-])",
        3.0,
    ),
    _secret(
        "discord_token",
        "Discord token or webhook",
        "discord bot",
        r"discord(?:app)?\.com/api/webhooks/[0-9]{17,20}/[A-Za-z0-9_\-]{60,80}|"
        r"(?<![A-Za-z0-9_\-])[MNO][A-Za-z0-9_\-]{23,25}\.[A-Za-z0-9_\-]{6}\.[A-Za-z0-9_\-]{27,38}(?![A-Za-z0-9_\-])",
        3.5,
        apart=True,
    ),
    _secret("databricks_token", "Databricks token", "dapi", rf"{_B}dapi[0-9a-f]{{32}}(?:-[0-9])?{_E}", 3.0),
    _secret("dropbox_token", "Dropbox token", "sl.", rf"{_B}sl\.(?:u\.)?[A-Za-z0-9_\-]{{60,1400}}", 4.0),
    _secret(
        "linear_notion",
        "Linear or Notion key",
        "lin_api_ ntn_ secret_",
        rf"{_B}(?:lin_api_[A-Za-z0-9]{{40}}|ntn_[A-Za-z0-9]{{40,50}}|secret_[A-Za-z0-9]{{43}}){_E}",
        3.5,
    ),
    _secret("newrelic_key", "New Relic key", "NRAK- NRII- NRJS-", rf"{_B}NR(?:AK|II|JS)-[A-Za-z0-9\-_]{{19,40}}", 3.0),
    _secret(
        "grafana_token",
        "Grafana token",
        "glsa_ glc_",
        rf"{_B}(?:glsa_[A-Za-z0-9]{{32}}_[0-9a-fA-F]{{8}}|glc_[A-Za-z0-9+/]{{32,400}}={{0,2}})",
        3.0,
    ),
    _secret(
        "docker_token", "Docker Hub token", "dckr_pat_ dckr_oat_", rf"{_B}dckr_[op]at_[A-Za-z0-9_\-]{{27,64}}", 3.0
    ),
    _secret(
        "vault_token",
        "HashiCorp Vault or Terraform token",
        "hvs. hvb. atlasv1.",
        rf"{_B}hv[sb]\.[A-Za-z0-9_\-]{{24,300}}|[A-Za-z0-9]{{14}}\.atlasv1\.[A-Za-z0-9_\-=]{{60,70}}",
        3.0,
    ),
    _secret(
        "age_key", "age secret key", "AGE-SECRET-KEY-", r"AGE-SECRET-KEY-1[QPZRY9X8GF2TVDW0S3JN54KHCE6MUA7L]{58}", 3.0
    ),
    _secret("atlassian_token", "Atlassian token", "ATATT3 ATCTT3", rf"{_B}AT[AC]TT3[A-Za-z0-9_\-=]{{60,300}}", 3.5),
    _secret(
        "groq_xai_key",
        "Groq, xAI, Replicate or OpenRouter key",
        "gsk_ xai- r8_ sk-or-",
        rf"{_B}(?:gsk_[A-Za-z0-9]{{40,64}}|xai-[A-Za-z0-9]{{60,100}}|r8_[A-Za-z0-9]{{37}}|"
        rf"sk-or-(?:v1-)?[0-9a-f]{{48,80}}){_E}",
        3.0,
    ),
    _secret(
        "basic_auth",
        "basic or bearer authorisation",
        "authorization",
        r"[Aa]uthorization[\"']?\s?[:=]\s?[\"']?(?:[Bb]asic (?P<value>[A-Za-z0-9+/]{12,}={0,2})|"
        r"[Bb]earer [A-Za-z0-9_\-.=+/~]{20,})",
        3.0,
        apart=True,
    ),
    _secret(
        "named_secret",
        "value of a secret's name",
        "secret token api_key apikey api-key passw wachtw mot",
        r"(?i:(?:api[_\-]?key|secret(?:[_\-]?(?:access)?[_\-]?key)?|access[_\-]?token|auth[_\-]?token|token|"
        r"client[_\-]?secret|"
        rf"passw(?:or)?d|passwort|wachtwoord|"
        rf"mot de passe)){_NAMED}(?P<value>[A-Za-z0-9_\-+/=.~!@#%^&*$]{{16,256}})(?![A-Za-z0-9])",
        3.6,
        apart=True,
    ),
    _secret(
        "password",
        "password in words",
        "passw wachtw mot",
        r"(?i:\b(?:password|passwd|passwort|wachtwoord|mot de passe))[\"']?\s{0,2}(?i::|=|is|lautet|"
        r"est)[ \t]{0,2}[\"'`]?"
        r"(?P<value>(?=[^\s]{0,63}[0-9])(?=[^\s]{0,63}[A-Za-z])[^\s\"'`(){}\[\]<>,;$]{6,64})",
        apart=True,
    ),
)
"""Every kind of secret, the special before the general."""

TITLES = {secret.kind: secret.title for secret in SECRETS}
_PLACEHOLDER = re.compile(
    r"(?i)example|sample|changeme|placeholder|your[_\-]?|xxxx|\.\.\.|redacted|dummy|<|\*{4}|1234567890|"
    r"abcdefgh|\{\{|\$\{|"
    r"^(?:user|username|password|passwd|pass|pwd|secret|token|port|foo|bar|mypassword|pw|\W+)$"
)
_SHORT = ("://", "-----BEGIN", "assw", "ASSW", "achtwoord", "mot de passe", "wd=", "WD=")
"""Marks of the forms that need no long word."""
_LONG = 16
"""Secrets are words of at least so many characters, but for the passwords in connections."""
_MASKED = re.compile(r"(?i)x{5}|\.\.\.|<|\*{4}|\{\{|\$\{|_here|your[_\-]")
_CODE = re.compile(r"^[A-Za-z_.]+$|[()]|^\w+(?:\.\w+)+$|^[A-Z_]+$|^[a-z_\-]+$")


_NEAR = tuple((hint, secret) for secret in SECRETS if not secret.apart for hint in secret.hints)
_APART = tuple((hint, secret) for secret in SECRETS if secret.apart for hint in secret.hints)


def secrets(text: str) -> Iterator[Found]:
    """Every secret of a text."""
    long = "\n".join([word for word in text.split() if len(word) >= _LONG and not word.isalpha()])
    if not long and not any(mark in text for mark in _SHORT):
        return
    possible = [secret for hint, secret in _NEAR if hint in long]
    lowered = text.lower()
    possible += [secret for hint, secret in _APART if hint in lowered]
    for secret in dict.fromkeys(possible):
        for match in secret.form.finditer(text):
            named = "value" in secret.form.groupindex and match.group("value") is not None
            group: str | int = "value" if named else 0
            value = match.group(group)
            if _plausible(secret, value):
                confidence = 0.7 if secret.kind in ("named_secret", "password") else 0.99
                yield Found(secret.kind, *match.span(group), engine="secrets", confidence=confidence)


def _plausible(secret: Secret, value: str) -> bool:
    """Not a placeholder of a manual, and as random as keys are."""
    if secret.kind == "private_key":
        return len(value) > 120
    if secret.kind in ("connection_string", "database_password"):
        return not _PLACEHOLDER.search(value)
    if secret.kind == "password":
        return not _PLACEHOLDER.search(value) and not re.search(r"\w\.\w+\.|^[a-z_.]+$", value)
    if secret.kind == "named_secret" and (_CODE.search(value) or not any(letter.isdigit() for letter in value)):
        return False
    masked = _PLACEHOLDER if secret.kind == "named_secret" else _MASKED
    return not masked.search(value[:60]) and entropy(value) >= secret.entropy


def entropy(text: str) -> float:
    """Shannon entropy of the letters, in bits a letter."""
    counts, length = Counter(text), len(text)
    return -sum(count / length * math.log2(count / length) for count in counts.values())


def shown(value: str, salt: bytes) -> str:
    """What a report may say of a secret: its first four characters, of a short one the first alone, and a salted hash
    that tells equal ones apart.
    """
    digest = hashlib.blake2b(value.encode("utf-8", "surrogatepass"), key=salt, digest_size=4).hexdigest()
    return f"{value[: 4 if len(value) >= _LONG else 1]}… #{digest}"
