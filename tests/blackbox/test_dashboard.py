"""The example dashboard of Grafana speaks of metrics that there are."""
import glob
import json
import os
import re

import sockdtest
from sockdtest import ROOT, SockdTest


class DashboardTest(SockdTest):
    def test_every_metric_of_the_dashboards_is_served(self):
        self.serve('handler = "echo";')
        served = set(re.findall("^# TYPE (\\S+) (\\S+)$", self.ctl("metrics").stdout, re.MULTILINE))
        names = {name for name, kind in served if kind != "histogram"}
        for name, kind in served:
            if kind == "histogram":
                names |= {name + end for end in ("_bucket", "_sum", "_count")}
        paths = glob.glob(os.path.join(ROOT, "etc/examples/grafana/*.json"))
        self.assertTrue(paths)
        for path in paths:
            with open(path) as f:
                text = json.dumps(json.load(f))
            used = set(re.findall(r"\bsockd_\w+", text))
            self.assertTrue(used)
            self.assertEqual(used - names, set(), os.path.basename(path))


if __name__ == "__main__":
    sockdtest.main()
