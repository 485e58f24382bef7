"""Whether a SuperLink or SuperNode answers: ``python -m ilora_app.deploy.health URL``.

For health checks of containers, which have no curl. A second argument names the
certificate of the CA.
"""

import ssl
import sys
import urllib.error
import urllib.request


def healthy(url: str, ca: str | None = None) -> bool:
    """Whether the address answers with 200."""
    context = ssl.create_default_context(cafile=ca) if ca else None
    try:
        with urllib.request.urlopen(url, timeout=5.0, context=context) as answer:
            return bool(answer.status == 200)
    except (OSError, urllib.error.URLError) as error:
        print(f"{url}: {error}", file=sys.stderr)
        return False


if __name__ == "__main__":
    url, *ca = sys.argv[1:3]
    sys.exit(0 if healthy(url, *ca) else 1)
