"""sockd-metrics(7) and what is served are the same, and its examples are taken by those that they are for."""
import os
import re
import subprocess

import sockdtest
from sockdtest import ROOT, TIMEOUT, SockdTest

with open(os.path.join(ROOT, "src/sockd-metrics.7")) as f:
    PAGE = f.read()
EXAMPLES = re.findall(r"^\.Bd -literal.*?\n(.*?)^\.Ed$", PAGE, re.MULTILINE | re.DOTALL)


def entries():
    """Each metric of the page: its type, its label, and the text behind it."""
    for head, text in re.findall(r"^\.It (Ic [^\n]*)\n(.*?)(?=^\.It|^\.El)", PAGE, re.MULTILINE | re.DOTALL):
        kind = re.search(r"No (gauge|counter|histogram)", head)[1]
        label = re.search(r"Cm (\w+)", head)
        for name in re.findall(r"Ic (sockd_\w+)", head):
            yield name, kind, label and label[1], text


class ManualTest(SockdTest):
    maxDiff = None

    def serve_metrics(self):
        self.serve('handler = "echo";')
        return self.ctl("metrics").stdout

    def test_each_metric_is_on_the_page_with_its_type_and_label(self):
        text = self.serve_metrics()
        served = dict(re.findall(r"(?m)^# TYPE (\S+) (\S+)$", text))
        self.assertEqual({name: kind for name, kind, _, _ in entries()}, served)
        for name, _, label, _ in entries():
            labels = set(re.findall(r"(\w+)=", "".join(re.findall(r"(?m)^%s\{(.*)\}" % name, text)))) - {"service"}
            self.assertEqual(labels, {label} - {None}, name)

    def test_each_value_of_a_label_is_on_the_page(self):
        text = self.serve_metrics()
        for name, _, label, words in entries():
            if label not in (None, "version"):
                values = set(re.findall(r'(?m)^%s\{.*%s="(\w+)"' % (name, label), text))
                quoted = set(re.findall(r"[a-z_]+", " ".join(re.findall(r"(?m)^\.Ql (.*)", words))))
                self.assertEqual(values - quoted, set(), name)

    def test_the_configuration_is_valid(self):
        conf, = [text for text in EXAMPLES if text.startswith("metrics =")]
        path = self.write("sockd.conf", self.service('handler = "echo";', conf))
        self.assertEqual(self.run_sockd("-t", "-f", path).returncode, 0)

    def check_with_promtool(self, what, start, name):
        self.need("promtool")
        text, = [text for text in EXAMPLES if text.startswith(start)]
        done = subprocess.run(["promtool", "check", what, self.write(name, text.replace("$", "$$"))], capture_output=True,
                              text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return text

    def test_prometheus_takes_its_configuration_and_the_rules(self):
        self.check_with_promtool("config", "scrape_configs:", "prometheus.yml")
        rules = self.check_with_promtool("rules", "groups:", "rules.yml")
        quantile, = [text for text in EXAMPLES if text.startswith("histogram_quantile")]
        names = set(re.findall(r"sockd_\w+", rules + quantile))
        served = self.serve_metrics()
        for name in names:
            self.assertIn("\n%s" % name, served)


if __name__ == "__main__":
    sockdtest.main()
