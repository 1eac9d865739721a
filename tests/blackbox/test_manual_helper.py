"""The examples of sockd-helper(7) do what the page says."""
import os
import re

import sockdtest
from sockdtest import ROOT, SockdTest

PAGE = os.path.join(ROOT, "src/sockd-helper.7")


def examples():
    """The displays of the page, as they are printed."""
    with open(PAGE) as f:
        blocks = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", f.read(), re.MULTILINE | re.DOTALL)
    return [block.replace("\\&", "").replace("\\e", "\\") for block in blocks]


class ManualTest(SockdTest):
    def scripts(self):
        """Of the plain protocol: those of the section on JSON speak otherwise."""
        return [text for text in examples() if text.startswith("#!") and "json" not in text and "jq" not in text]

    def test_the_helpers_for_lines_greet(self):
        scripts = [text for text in self.scripts() if "netstring" not in text and '":"' not in text and 'b":"' not in text]
        self.assertEqual(len(scripts), 2)
        for i, script in enumerate(scripts):
            with self.subTest(script.splitlines()[0]):
                self.write("greet%d" % i, script.replace("$", "$$"), 0o755)
                self.serve('handler = "helper"; framing = "line"; command = "$dir/greet%d";' % i)
                self.assertEqual(self.converse(b"you\nworld\r\n"), b"Hello, You!\nHello, World!\r\n")
                self.stop()

    def test_the_helper_for_netstrings_greets(self):
        script, = [text for text in self.scripts() if 'b":"' in text]
        self.write("greet", script.replace("$", "$$"), 0o755)
        self.serve('handler = "helper"; framing = "close"; command = "$dir/greet";')
        self.assertEqual(self.converse(b"you\n"), b"Hello, You\n!")

    def test_the_configuration_is_valid(self):
        conf, = [text for text in examples() if text.startswith("services:")]
        path = self.write("greet.conf", conf.replace("/usr/local/lib/greet", "/bin/cat"))
        done = self.run_sockd("-t", "-f", path)
        self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    sockdtest.main()
