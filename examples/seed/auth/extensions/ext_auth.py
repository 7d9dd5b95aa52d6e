#!/usr/bin/env python3
"""ext_auth.py USER PASSWORD asks the service that knows the accounts. Exit 0: the login is good; 1: it is not; 3: the
service does not answer, which is neither."""

import base64
import os
import sys
import urllib.error
import urllib.request

URL = os.environ.get("ACCOUNTS_URL", "http://127.0.0.1:8080/session")


class Stays(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: a page to log in at says 200 to everybody, and the password is for nobody else."""

    def redirect_request(self, *_):
        return None


def main(user, password):
    if not user or not password:
        return 1
    credential = base64.b64encode(f"{user}:{password}".encode()).decode()
    request = urllib.request.Request(URL, headers={"Authorization": f"Basic {credential}"})
    try:
        with urllib.request.build_opener(Stays).open(request, timeout=5):
            return 0
    except urllib.error.HTTPError as error:
        if error.code in (401, 403):
            return 1
        problem = error
    except OSError as error:
        problem = error
    print(f"ext_auth.py: {URL}: {problem}", file=sys.stderr)
    return 3


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
