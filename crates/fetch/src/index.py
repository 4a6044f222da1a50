"""Downloads one file of a project from the package index that pip is set up with; runs nothing of it.

Arguments: the project, the file's name, the most bytes it has, and where to write it.
"""

import ast
import base64
import html.parser
import os
import shutil
import ssl
import subprocess
import sys
import urllib.parse
import urllib.request

project, name, most, target = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]


def pip_settings():
    """What pip's files and environment say, the strongest last."""
    listed = subprocess.run([sys.executable, "-I", "-m", "pip", "config", "list"], capture_output=True, text=True)
    settings = {}
    for line in listed.stdout.splitlines() if listed.returncode == 0 else []:
        key, _, value = line.partition("=")
        section, _, option = key.rpartition(".")
        if section in ("global", "download", ":env:"):
            rank = ("global", "download", ":env:").index(section)
            if rank >= settings.get(option, (-1, ""))[0]:
                settings[option] = (rank, ast.literal_eval(value))
    return {option: value for option, (_, value) in settings.items()}


class Links(html.parser.HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attributes):
        if tag == "a":
            self.found += [value for key, value in attributes if key == "href" and value]


def get(opener, url):
    """Opens a page or file; credentials within the address go into a header."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise ValueError(f"not an address on the web: {url}")
    request = urllib.request.Request(urllib.parse.urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2])))
    request.add_header("Accept", "text/html, */*;q=0.1")
    request.add_header("User-Agent", "burn-adapters")
    if parts.username:
        secret = f"{urllib.parse.unquote(parts.username)}:{urllib.parse.unquote(parts.password or '')}"
        request.add_unredirected_header("Authorization", "Basic " + base64.b64encode(secret.encode()).decode())
    return opener.open(request, timeout=15)


def read(response, limit):
    content = response.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"more than {limit} bytes")
    return content


def main():
    settings = pip_settings()
    problems = []
    for folder in settings.get("find-links", "").split():
        path = os.path.join(folder.removeprefix("file://"), name)
        if os.path.isfile(path) and os.path.getsize(path) <= most:
            shutil.copyfile(path, target)
            return None
    if settings.get("no-index", "").lower() in ("1", "true", "yes", "on"):
        return f"{name} is in none of the folders that pip's find-links names, and no-index is set"
    context = ssl.create_default_context(cafile=settings.get("cert"))
    handlers = [urllib.request.HTTPSHandler(context=context)]
    if settings.get("proxy"):
        handlers.append(urllib.request.ProxyHandler({"http": settings["proxy"], "https": settings["proxy"]}))
    opener = urllib.request.build_opener(*handlers)
    indexes = [settings.get("index-url", "https://pypi.org/simple"), *settings.get("extra-index-url", "").split()]
    for index in indexes:
        page = index.rstrip("/") + "/" + project.lower() + "/"
        try:
            links = Links()
            links.feed(read(get(opener, page), 1 << 24).decode("utf-8", "replace"))
            for link in links.found:
                url = urllib.parse.urljoin(page, link.partition("#")[0])
                if urllib.parse.unquote(url.rpartition("/")[2]) != name:
                    continue
                if urllib.parse.urlsplit(url).netloc == urllib.parse.urlsplit(page).netloc.rpartition("@")[2]:
                    # Where the index asks for credentials, its files do, too.
                    url = url.replace("://", "://" + "".join(urllib.parse.urlsplit(page).netloc.rpartition("@")[:2]), 1)
                content = read(get(opener, url), most)
                with open(target, "xb") as file:
                    file.write(content)
                return None
            problems.append(f"{project} has no file {name} there")
        except Exception as error:  # whatever it is, the next index is tried
            problems.append(f"{type(error).__name__}: {error}")
    return "; ".join(problems)


sys.exit(main())
