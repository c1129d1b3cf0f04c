"""Every form in which a secret may stand in a text: messages of drivers and services, URLs, statements, settings.

``{}`` is where the secret stands. What does not belong here: what is tested with them (test_redact.py).
"""

from __future__ import annotations

URLS = (
    "postgresql://bank:{}@db.example.com:5432/bank",
    "redshift+psycopg2://u:{}@c.example.com/w?sslmode=prefer",
    "mongodb://u:{}@h1:27017,h2:27017/?replicaSet=r",
    "mongodb+srv://u:p%40{}@cluster.example.com/?retryWrites=true",
    "mysql+pymysql://u:{}@h/d",
    "amqps://u:{}@h/v",
    "postgresql://u:a@{}@h/d",
    "postgresql://u:a/{}@h/d",
    "postgresql://u:{}/5432/b@h/d",
    "postgresql://u:1234/{}@h/d",
    "redis://:{}@h",
    "redis://:a/{}@h",
    "postgresql://u:a@b/{}@h/d",
    "https://{}@github.example.com/o/r.git",
    "https://git:{}@git.example.com:8443/o/r.git",
    "https://x-access-token:{}@github.example.com/o/r.git",
    "postgresql://h/d?user=u&password={}",
    "postgresql://h/d?sslpassword={}&sslmode=require",
    "mongodb://h/?authMechanismProperties=AWS_SESSION_TOKEN:{}",
)

SIGNED = (
    "https://b.s3.amazonaws.com/k?X-Amz-Signature={}&x=1",
    "X-Amz-Credential={}%2F20250101%2Fus-east-1%2Fs3%2Faws4_request",
    "https://b/k%3FX-Amz-Security-Token%3D{}",
    "https://b.s3.amazonaws.com/k?AWSAccessKeyId=x&Signature={}&Expires=1",
    "https://acc.blob.core.windows.net/c?sv=2024&sig={}",
    "https://api.example.com/v1?access_token={}&page=2",
    "https://api.example.com/v1?api_key={}",
    "https://api.example.com/v1?key={}",
    "https://login.example.com/cb?code={}&state=1",
    "https://api.example.com/cb#id_token={}",
)

WEBHOOKS = (
    "https://hooks.slack.com/services/T0123/B0123/{}",
    "https://hooks.slack.com/workflows/T0123/A0123/1/{}",
    "https://discord.com/api/webhooks/123456789/{}",
    "https://discordapp.com/api/webhooks/123456789/{}",
    "https://acme.webhook.office.com/webhookb2/1-2-3@4/IncomingWebhook/{}/5",
    "https://outlook.office.com/webhook/{}/IncomingWebhook/5",
    "https://prod-1.westeurope.logic.azure.com:443/workflows/{}/triggers/manual/paths/invoke",
    "https://events.pagerduty.com/integration/{}/enqueue",
    "https://chat.googleapis.com/v1/spaces/A/messages?key=k&token={}",
    "https://api.telegram.org/bot{}/sendMessage",
    "https://api.prefect.cloud/api/webhooks/{}/x",
    "https://mattermost.example.com/hooks/{}",
)
"""Notification services of Apprise, as Prefect's blocks write them, are among the next."""

APPRISE = ("slack://T0123/B0123/{}/channel", "discord://123/{}", "tgram://{}/123", "mailto://user:{}@mail.example.com")

NAMED = (
    "aws_secret_access_key={}",
    "AWS_SECRET_ACCESS_KEY: {}",
    "SecretAccessKey={}",
    '{{"SecretAccessKey": "{}", "SessionToken": "x"}}',
    '{{"aws_session_token": "{}"}}',
    '{{"password": "{} with blanks"}}',
    '{{"password":"a\\"{}"}}',
    '{{\\"password\\": \\"{}\\"}}',
    "{{'password': '{} with blanks'}}",
    "password='it''s {}'",
    "password='it\\'s {}'",
    'password="a\\"{}" x',
    'password="a b {}" host=h',
    "host=h dbname=d password={} port=1",
    "host=h password='{} x' port=1",
    "host=h password = '{} x'",
    "password: {}",
    "password=a,{} host=h",
    "password=a&{} host=h",
    "PGPASSWORD={} psql",
    "MYSQL_PWD={}",
    "--password {}",
    "--password={}",
    "--token {} --verbose",
    "mysql -u root --password='{}'",
    "client_secret={}&grant_type=x",
    "refresh_token={}",
    "PREFECT_API_KEY=pnu_{}",
    "api-key: {}",
    "x-api-key: {}",
    "apikey={}",
    "AccountKey={};EndpointSuffix=core.windows.net",
    "SharedAccessKey={}",
    "Server=h;Uid=u;Pwd={};",
    "passphrase: '{}'",
    "sslpassword={}",
    "<password>{}</password>",
    "password=SecretStr('{}')",
    "private_key_passphrase = {}",
    "password => '{}'",
    "pass={} host=h",
)

HEADERS = (
    "Authorization: Bearer {}",
    "Authorization: Basic {}",
    "Proxy-Authorization: Basic {}",
    "'Authorization': 'AWS4-HMAC-SHA256 Credential=a/b, SignedHeaders=host, Signature={}'",
    '{{"authorization": "token {}"}}',
    "got Bearer {}.x",
    "X-Auth-Token: {}",
    "Cookie: session={}; theme=dark",
    "Set-Cookie: sid={}; Path=/",
)

STATEMENTS = (
    "CREATE ROLE r PASSWORD 'it''s {}'",
    "ALTER USER u WITH ENCRYPTED PASSWORD '{}'",
    "CREATE USER u IDENTIFIED BY '{}'",
    "CREATE USER u IDENTIFIED WITH mysql_native_password BY '{}'",
    "CREATE USER u IDENTIFIED BY PASSWORD '{}'",
    "SET PASSWORD FOR u = '{}'",
    "SET PASSWORD = PASSWORD('{}')",
    "CREATE USER MAPPING FOR u SERVER s OPTIONS (user 'x', password '{}')",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h password={}' PUBLICATION p",
    "CREATE SUBSCRIPTION s CONNECTION 'host=h password=''a {}''' PUBLICATION p",
    "COPY t FROM 's3://b' ACCESS_KEY_ID 'x' SECRET_ACCESS_KEY '{}'",
    "credentials 'aws_access_key_id=A;aws_secret_access_key={}'",
    "CREDENTIALS 'aws_access_key_id={}'",
    "CHANGE MASTER TO MASTER_PASSWORD='{}'",
)

BLOCKS = (
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
    "-----BEGIN PRIVATE KEY-----\n{}",
    "-----BEGIN OPENSSH PRIVATE KEY-----\r\nb3Bl\r\n{}\r\n-----END OPENSSH PRIVATE KEY-----",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\n\n{}\n-----END PGP PRIVATE KEY BLOCK-----",
    "private_key=-----BEGIN PRIVATE KEY-----\nMIIE\n{}\n-----END PRIVATE KEY-----",
    '"private_key": "-----BEGIN PRIVATE KEY-----\\nMIIE\\n{}\\n-----END PRIVATE KEY-----\\n"',
    "ssl_key: -----BEGIN EC PRIVATE KEY----- MHc {} -----END EC PRIVATE KEY-----",
)

FORMS = (*URLS, *SIGNED, *WEBHOOKS, *APPRISE, *NAMED, *HEADERS, *STATEMENTS, *BLOCKS)
