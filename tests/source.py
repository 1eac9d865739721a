#!/usr/bin/env python3
"""Rules of the sources that no compiler knows: which file may include which, how long one may be, and a few more.

Writes TAP. A module is a .c file with its header. When a rule does not fit what is right, it is the rule that changes:
here, with the reason.
"""
import ast
import os
import re
import sys

os.chdir(os.path.join(os.path.dirname(os.path.abspath(__file__)), ".."))

FILE_LINES, FUNCTION_LINES = 500, 80

# Each foreign library enters by one door. The exporter has its own loaded when there is one; JSON is a value that
# several hand on.
DOORS = {
    "sys/epoll.h": {"src/base/loop.h"},
    "libconfig.h": {"src/conf_node.c"},
    "systemd/sd-daemon.h": {"src/sd.c"},
    "dlfcn.h": {"src/exporter_library.c", "src/handler/plugin_file.c"},
    "microhttpd.h": {"src/exporter.c", "src/exporter_library.h"},
    "histedit.h": {"src/client/shell.c"},
    "jansson.h": {"src/client/top_json.c", "src/client/top_sample.c", "src/command_view.c", "src/handler/helper_json.c",
                  "src/status_helpers.c", "src/status_json.c"},
}
# Starting processes, likewise. Workers and the spawner are forked where processes are made.
FORK = re.compile(r"\b(v?fork|clone3?|posix_spawnp?|exec(ve?|vp|le?|lp|vpe|veat)|fexecve)\s*\(")

# Modules that are one thing in several files, and include each other; as those do whose names begin with the same word.
FAMILIES = (
    {"generation", "roll", "seat", "succession", "trial", "trouble"},
    {"spawner", "spawned", "spawner_line"},
)


def files(*suffixes, top="src"):
    for folder, _, names in os.walk(top):
        for name in sorted(names):
            if name.endswith(suffixes):
                yield os.path.join(folder, name)


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def includes(path):
    return re.findall(r'^#include [<"]([^>"]+)[>"]', read(path), re.MULTILINE)


def module(path):
    return os.path.splitext(path.removeprefix("src/"))[0]


def own_modules():
    """The modules that each module includes."""
    graph = {}
    for path in files(".c", ".h"):
        below = {module(i) for i in includes(path) if os.path.exists("src/" + i)}
        graph.setdefault(module(path), set()).update(below - {module(path)})
    return graph


def test_base_includes_nothing_of_sockd():
    return ["%s includes %s" % (path, i) for path in files(".c", ".h", top="src/base")
            for i in includes(path) if os.path.exists("src/" + i) and not i.startswith("base/")]


def test_client_and_daemon_do_not_include_each_other():
    """The client knows base/ and what both ends must agree on; the daemon knows nothing of the client."""
    shared = {"conf", "control", "control_path", "frame"}
    wrong = []
    for path in files(".c", ".h"):
        for i in includes(path):
            if not os.path.exists("src/" + i):
                continue
            if path.startswith("src/client/"):
                if not i.startswith(("client/", "base/")) and module(i) not in shared:
                    wrong.append("%s includes %s" % (path, i))
            elif i.startswith("client/") and path != "src/sockctl.c":
                wrong.append("%s includes %s" % (path, i))
    return wrong


def test_each_library_has_one_door():
    return ["%s includes %s" % (path, i) for path in files(".c", ".h") for i in includes(path)
            if i in DOORS and path not in DOORS[i]]


def test_only_base_starts_processes():
    return ["%s: %s" % (path, line.strip()) for path in files(".c") if not path.startswith("src/base/spawn")
            for line in read(path).splitlines() if FORK.search(line) and not line.lstrip().startswith(("*", "/*"))]


def reached(graph, start):
    """The modules that START includes, at any distance."""
    seen, waiting = set(), [start]
    while waiting:
        for below in graph.get(waiting.pop(), ()):
            if below not in seen:
                seen.add(below)
                waiting.append(below)
    return seen


def is_family(circle):
    return len({m.partition("_")[0] for m in circle}) == 1 or any(circle <= family for family in FAMILIES)


def test_no_module_includes_what_stands_above_it():
    graph = own_modules()
    below = {m: reached(graph, m) for m in graph}
    circles = {frozenset(b for b in below[m] if m in below[b]) for m in graph if m in below[m]}
    return [" <-> ".join(sorted(circle)) for circle in sorted(circles, key=sorted) if not is_family(circle)]


def test_a_file_includes_its_own_header_first():
    return ["%s includes %s first" % (path, (includes(path) or ["nothing"])[0]) for path in files(".c")
            if os.path.exists(path[:-1] + "h") and includes(path)[0] != path[4:-1] + "h"]


def test_headers_are_guarded_by_their_name():
    wrong = []
    for path in files(".h"):
        guard = re.sub(r"\W", "_", path.removeprefix("src/")).upper()
        guard = guard if guard.startswith("SOCKD_") else "SOCKD_" + guard
        if "#ifndef %s\n#define %s\n" % (guard, guard) not in read(path):
            wrong.append("%s has no %s" % (path, guard))
    return wrong


def test_every_file_says_what_it_is():
    wrong = []
    for path in [*files(".c", ".h"), *files(".c", ".h", top="tests")]:
        head = re.match(r"/\*.*?\*/", read(path), re.DOTALL)
        if not head or head[0].count("\n") > 24:
            wrong.append(path)
    return wrong


def test_no_file_is_too_long():
    lengths = [(read(path).count("\n"), path) for path in [*files(".c", ".h"), *files(".c", ".h", top="tests")]]
    return ["%s has %d lines" % (path, n) for n, path in lengths if n > FILE_LINES]


def test_no_function_is_too_long():
    wrong = []
    for path in [*files(".c"), *files(".c", ".h", top="tests")]:
        start = None
        for number, line in enumerate(read(path).splitlines(), 1):
            if line == "{":
                start = number
            elif line == "}" and start:
                if number - start - 1 > FUNCTION_LINES:
                    wrong.append("%s:%d: %d lines" % (path, start, number - start - 1))
                start = None
    return wrong


def pauses(path):
    """The lines where a test pauses by itself: time.sleep(), or an event that nobody sets."""
    for node in ast.walk(ast.parse(read(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            name = ast.unparse(node.func)
            if name == "time.sleep" or name.endswith("Event().wait"):
                yield node.lineno


def test_no_test_pauses_but_by_let_pass():
    return ["%s:%d" % (path, line) for path in files(".py", top="tests/blackbox")
            if not path.endswith("sockdtest.py") for line in pauses(path)]


def main():
    tests = [(n, f) for n, f in sorted(globals().items()) if n.startswith("test_")]
    print("1..%d" % len(tests))
    failed = 0
    for name, test in tests:
        wrong = test()
        failed += bool(wrong)
        print("%sok - %s" % ("not " if wrong else "", name))
        for line in wrong:
            print("# " + line)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
