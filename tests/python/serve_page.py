"""Uses the page of `burn-adapters serve` in a headless Chromium: chooses adapters, types a text, and reads the answers.

    burn-adapters serve --model SmolLM2-135M-Instruct.gguf --adapters-root adapters
    python tests/python/serve_page.py --address http://127.0.0.1:8000 --adapters lora-0002 ia3-0001
"""

import argparse
import json
import os
import subprocess
import tempfile
import time
import urllib.request


class Browser:
    """A Chromium that is told what to do over a pipe (Chrome DevTools Protocol)."""

    def __init__(self, program, profile):
        read, self.writer = os.pipe()
        self.reader, write = os.pipe()

        def connect():
            # The pipe's ends must have these numbers, whatever they have now.
            ends = os.dup(read), os.dup(write)
            os.dup2(ends[0], 3)
            os.dup2(ends[1], 4)

        arguments = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", f"--user-data-dir={profile}"]
        self.process = subprocess.Popen(
            [program, *arguments, "about:blank"], preexec_fn=connect, close_fds=False, stderr=subprocess.DEVNULL
        )
        self.number, self.rest, self.events = 0, b"", []
        target = next(one for one in self.call("Target.getTargets")["targetInfos"] if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        self.session = attached["sessionId"]

    def call(self, method, session=None, **parameters):
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self.writer, json.dumps(message).encode() + b"\0")
        while True:
            answer = self.receive()
            if answer.get("id") == self.number:
                if "error" in answer:
                    raise RuntimeError(answer["error"])
                return answer["result"]
            self.events.append(answer)

    def receive(self):
        while b"\0" not in self.rest:
            self.rest += os.read(self.reader, 1 << 16)
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def run(self, script):
        """The value of a script in the page."""
        result = self.call("Runtime.evaluate", self.session, expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in result:
            raise RuntimeError(result["exceptionDetails"])
        return result["result"].get("value")

    def until(self, what, script, seconds=120):
        end = time.time() + seconds
        while not self.run(script):
            if time.time() > end:
                raise RuntimeError(f"{what} did not come about: {self.run('document.body.innerText')}")
            time.sleep(0.1)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--address", default="http://127.0.0.1:8000")
    parser.add_argument("--adapters", nargs="+", required=True)
    parser.add_argument("--browser", default="chromium")
    parser.add_argument("--picture", help="a file for a picture of the page")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        browser = Browser(arguments.browser, profile)
        try:
            check(browser, arguments)
        finally:
            browser.process.kill()
            browser.process.wait()
    print("the page works")


def check(browser, arguments):
    browser.call("Log.enable", browser.session)
    browser.call("Runtime.enable", browser.session)
    browser.call("Page.navigate", browser.session, url=f"{arguments.address}/")
    browser.until("the list of adapters", "document.querySelectorAll('#adapters input').length > 0")
    # As a person would: nothing but these adapters, a text, and the button.
    wanted = json.dumps(arguments.adapters)
    browser.run(f"document.querySelectorAll('#adapters input').forEach((box) => {{ if (box.checked !== {wanted}.includes(box.value)) box.click(); }})")
    text = "The lighthouse keeper"
    browser.run("document.getElementById('task').value = 'complete'; document.getElementById('tokens').value = 12")
    browser.run("document.getElementById('text').focus()")
    browser.call("Input.insertText", browser.session, text=text)
    browser.run("document.getElementById('run').click()")
    browser.until("the answers", "document.getElementById('status').textContent === 'done'")
    found = browser.run(
        "Object.fromEntries([...document.querySelectorAll('.answer')].map((one) => [one.querySelector('h2').textContent,"
        " one.querySelector('p').textContent]))"
    )
    for name in arguments.adapters:
        body = {"model": name, "prompt": text, "max_tokens": 12, "temperature": 0}
        request = urllib.request.Request(
            f"{arguments.address}/v1/completions", json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        expected = json.load(urllib.request.urlopen(request))["choices"][0]["text"]
        assert found.get(name) == expected, (name, found, expected)
    assert set(found) == set(arguments.adapters), found
    assert not browser.run("document.querySelectorAll('.error').length")
    if arguments.picture:
        import base64

        data = browser.call("Page.captureScreenshot", browser.session)["data"]
        with open(arguments.picture, "wb") as file:
            file.write(base64.b64decode(data))
    # The filter, and the message of an error.
    browser.run(f"document.getElementById('filter').value = {json.dumps(arguments.adapters[0])}")
    browser.run("document.getElementById('filter').dispatchEvent(new Event('input'))")
    assert browser.run("document.querySelectorAll('#adapters input').length") >= 1
    browser.run("document.getElementById('tokens').value = 100000000; document.getElementById('run').click()")
    browser.until("errors", "document.querySelectorAll('.error').length > 0")
    browser.call("Page.navigate", browser.session, url=f"{arguments.address}/docs")
    browser.until("the routes", "document.querySelectorAll('details').length > 10")
    problems = [event["params"] for event in browser.events if event.get("method") == "Runtime.exceptionThrown"]
    assert not problems, problems


if __name__ == "__main__":
    main()
