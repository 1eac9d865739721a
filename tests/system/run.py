#!/usr/bin/env python3
"""The system tests: builds the package, installs it in a container that boots systemd, and runs scenarios.py there.

  run.py SUITE [WORD...]      SUITE is a release of Debian; with words, only the scenarios whose names have one of them

Writes TAP. A root of the release is made once, with mmdebstrap, from the mirror that this machine's apt uses, and kept
in /var/tmp/sockd-system (SOCKD_ROOTS); each run boots a copy. Where the release is not the one of this machine, the package
is built in a root of its own. Without root or the tools there is one test, which is skipped, loudly; in CI it fails.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
ROOTS = os.environ.get("SOCKD_ROOTS", "/var/tmp/sockd-system")
TOOLS = ("mmdebstrap", "systemd-nspawn", "dpkg-buildpackage", "dpkg-deb", "lintian", "systemd-analyze")
BOOT_TIMEOUT = 900
OLD_VERSION = "0.0.9"

SCENARIOS = """[Unit]
Description=Scenarios
After=basic.target
[Service]
Type=exec
ExecStart=/usr/bin/python3 /out/scenarios.py
StandardOutput=file:/out/printed
StandardError=inherit
Environment=LC_ALL=C.UTF-8 PYTHONDONTWRITEBYTECODE=1
OOMScoreAdjust=-500
ExecStopPost=systemctl exit
"""


def say(*words):
    print("#", *words, flush=True)


def run(*command, log=None, **options):
    """Runs a command quietly; what it said is shown when it fails."""
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, errors="backslashreplace", **options)
    if log:
        with open(log, "w") as f:
            f.write(done.stdout)
    if done.returncode:
        raise RuntimeError("%s: exit status %d\n%s" % (" ".join(command), done.returncode,
                                                       "\n".join(done.stdout.splitlines()[-40:])))
    return done.stdout


def this_release():
    with open("/etc/os-release") as f:
        found = re.search(r"^VERSION_CODENAME=(\w+)", f.read(), re.M)
    return found.group(1) if found else ""


def mirror():
    """Where this machine's apt gets its own release from."""
    lines = run("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)").split("\n")
    for line in lines:
        words = line.split()
        if len(words) == 3 and words[1] == this_release() and words[2] == "main":
            return words[0]
    raise RuntimeError("apt knows no mirror for " + this_release())


# The roots.

def build_dependencies():
    """Of debian/control, without those of the tests, and of alternatives the first."""
    with open(ROOT + "/debian/control") as f:
        field = re.search(r"^Build-Depends:((?:.*\n)(?: .*\n)*)", f.read(), re.M).group(1)
    words = [w.strip() for w in field.split(",")]
    return ["build-essential"] + [re.split(r"[ (|]", w)[0] for w in words if w and "!nocheck" not in w]


def runtime_dependencies(deb):
    words = [w.strip() for w in run("dpkg-deb", "-f", deb, "Depends").split(",")]
    return [re.split(r"[ (|]", w)[0] for w in words if w]


@contextlib.contextmanager
def locked(path):
    with open(path, "a") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def cached_root(suite, kind, packages):
    """A root with these packages, that is not to be changed."""
    packages = sorted(set(packages))
    key = hashlib.sha256(" ".join(packages).encode()).hexdigest()[:12]
    path = os.path.join(ROOTS, "%s-%s-%s" % (suite, kind, key))
    os.makedirs(ROOTS, exist_ok=True)
    with locked(path + ".lock"):
        if not os.path.isdir(path):
            began = time.monotonic()
            shutil.rmtree(path + ".new", ignore_errors=True)
            # The directory must be open to all, since apt in it becomes another user.
            run("mmdebstrap", "--variant=minbase", "--include=" + ",".join(packages), suite, path + ".new", mirror(),
                env=dict(os.environ, TMPDIR=ROOTS))
            os.rename(path + ".new", path)
            say("made the %s root of %s in %.0f s" % (kind, suite, time.monotonic() - began))
    return path


# The package.

def export(directory, version=None):
    """The tree as it is, without what is made from it. With a version: as an older build would have been."""
    shutil.rmtree(directory, ignore_errors=True)
    os.makedirs(directory)
    names = subprocess.run(["git", "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
                           stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, check=False).stdout.decode().split("\0")
    if any(names):
        for name in filter(None, names):
            if os.path.lexists(os.path.join(ROOT, name)):
                os.makedirs(os.path.dirname(os.path.join(directory, name)), exist_ok=True)
                shutil.copy2(os.path.join(ROOT, name), os.path.join(directory, name), follow_symlinks=False)
    else:
        shutil.copytree(ROOT, directory, symlinks=True, ignore=shutil.ignore_patterns("build", ".git"),
                        dirs_exist_ok=True)
    if version:
        edit(directory + "/debian/changelog", r"^(sockd \()[^)]*", r"\g<1>" + version)
        edit(directory + "/etc/sockd.conf", r"\A", "# As it was.\n")
        # It kept its counters at other places, and had one that is gone.
        edit(directory + "/src/stats.h", r"^#define STATS_COUNTERS\(X\).*$", '\\g<0>\n    X(ancient, "of old") \\\\')


def edit(path, pattern, replacement):
    with open(path) as f:
        text = f.read()
    with open(path, "w") as f:
        f.write(re.sub(pattern, replacement, text, count=1, flags=re.M))


def build(source, options="", root=None, **env):
    """Builds the package and returns the paths of what came of it, by name. ROOT: a copy of a root to build in."""
    env = dict({"DEB_BUILD_OPTIONS": "nocheck parallel=%d %s" % (os.cpu_count() or 1, options),
                "DEB_BUILD_PROFILES": "nocheck", "LC_ALL": "C.UTF-8",
                "PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/nonexistent"}, **env)
    command = ["dpkg-buildpackage", "-b", "-uc", "-us"]
    if root:
        inside = os.path.join("/", os.path.relpath(source, root))
        command = ["chroot", root, "sh", "-c", "cd %s && exec %s" % (inside, " ".join(command))]
    run(*command, cwd=source, env=env, log=source + ".log")
    above = os.path.dirname(source)
    return {name: os.path.join(above, name) for name in os.listdir(above)
            if re.fullmatch(r".*\.(deb|changes)", name)}


def the_deb(built):
    return next(path for name, path in built.items() if name.startswith("sockd_") and name.endswith(".deb"))


class Packages:
    """The package, and an older build of it."""

    def __init__(self, suite, work):
        self.work = work
        self.foreign = suite != this_release()
        self.root = None
        base = work
        if self.foreign:
            self.root = base = work + "/build-root"
            copy_root(cached_root(suite, "build", build_dependencies()), self.root)
        began = time.monotonic()
        for name, version, options in (("new", None, ""), ("old", OLD_VERSION, "noopt noautodbgsym")):
            export("%s/%s/sockd" % (base, name), version)
            setattr(self, name, build("%s/%s/sockd" % (base, name), options, self.root))
        say("built the package, and an older one, in %.0f s" % (time.monotonic() - began))

    def done(self):
        if self.root:
            shutil.rmtree(self.root, ignore_errors=True)


# Tests that need no container.

def test_package_built_twice_is_the_same_bytes(packages):
    """In another directory, at another time, in another language, by a user with another mask."""
    source = packages.work + "/again/a-longer-name-for-it"
    export(source)
    old = os.umask(0o077)
    try:
        again = build(source, TZ="Pacific/Chatham", LC_ALL="C", USER="somebody", HOME="/tmp")
    finally:
        os.umask(old)
    for name, path in sorted(packages.new.items()):
        if name.endswith(".deb"):
            sums = [hashlib.sha256(open(p, "rb").read()).hexdigest() for p in (path, again[name])]
            if sums[0] != sums[1]:
                raise RuntimeError(name + " differs: " + run("sh", "-c", "diff <(dpkg-deb -c %s) <(dpkg-deb -c %s)"
                                                             % (path, again[name])))


def test_lintian_says_nothing(packages):
    changes = next(path for name, path in packages.new.items() if name.endswith(".changes"))
    said = run("lintian", "--pedantic", "-E", "--allow-root", "--tag-display-limit", "0", changes)
    if said.strip():
        raise RuntimeError(said)


def test_exposure_is_1_5_or_better(_):
    for unit in ("sockd.service", "sockd@.service"):
        said = run("systemd-analyze", "security", "--no-pager", "--offline=yes", "--threshold=15",
                   os.path.join(ROOT, "systemd", unit))
        say(said.splitlines()[-1])


def test_units_differ_only_where_the_instance_is_named(_):
    def lines(name):
        with open(os.path.join(ROOT, "systemd", name)) as f:
            text = f.read().replace(" -f /etc/sockd-%i.conf", "").replace(" -i %i", "").replace("sockd-%i", "sockd").replace(" (%i)", "")
        return text[text.index("[Unit]"):]
    if lines("sockd.service") != lines("sockd@.service"):
        raise RuntimeError("sockd.service and sockd@.service differ in more than %i")


# The container.

def copy_root(cached, to):
    shutil.rmtree(to, ignore_errors=True)
    run("cp", "-a", "--reflink=auto", cached, to)


@contextlib.contextmanager
def own_cgroup(name):
    """Two containers at once must not see each other's processes."""
    made = []

    def enter():
        for path in made:
            with open(path + "/cgroup.procs", "w") as f:
                f.write(str(os.getpid()))
    for base in ("/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"):
        if os.path.exists(base + "/cgroup.procs"):
            path = os.path.join(base, name)
            with contextlib.suppress(OSError):
                os.makedirs(path, exist_ok=True)
                made.append(path)
    try:
        yield enter
    finally:
        for path in made:
            for directory, _, _ in os.walk(path, topdown=False):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)


def boot(root, out, name):
    command = ["systemd-nspawn", "-q", "-D", root, "--machine=" + name, "--register=no", "--keep-unit",
               "--private-network", "--bind=%s:/out" % out, "-b"]
    with own_cgroup(name) as enter, open(out + "/console", "w") as console:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.STDOUT,
                                   start_new_session=True, preexec_fn=enter,
                                   env=dict(os.environ, SYSTEMD_NSPAWN_UNIFIED_HIERARCHY="1"))
        try:
            process.wait(BOOT_TIMEOUT)
        except subprocess.TimeoutExpired:
            process.terminate()  # a clean shutdown
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            raise RuntimeError("the container still ran after %d s" % BOOT_TIMEOUT) from None


def prepare(suite, packages, out, words):
    deb = the_deb(packages.new)
    root = packages.work + "/root"
    wanted = ["systemd", "systemd-sysv", "python3", "tzdata", *runtime_dependencies(deb)]
    copy_root(cached_root(suite, "test", wanted), root)
    shutil.copy(deb, out + "/new.deb")
    shutil.copy(the_deb(packages.old), out + "/old.deb")
    for name in ("inside.py", "scenarios.py"):
        shutil.copy(os.path.join(HERE, name), out)
    shutil.copytree(ROOT + "/debian/tests", out + "/tests")
    with open(out + "/wanted", "w") as f:
        f.writelines(w + "\n" for w in words)
    with open(root + "/etc/hosts", "w") as f:
        f.write("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n")
    units = root + "/etc/systemd/system"
    os.makedirs(units + "/multi-user.target.wants", exist_ok=True)
    with open(units + "/scenarios.service", "w") as f:
        f.write(SCENARIOS)
    os.symlink("../scenarios.service", units + "/multi-user.target.wants/scenarios.service")
    # What the system does by itself once a day may be due just now, and leave files.
    for timer in glob.glob(root + "/usr/lib/systemd/system/*.timer") + glob.glob(root + "/lib/systemd/system/*.timer"):
        with contextlib.suppress(FileExistsError):
            os.symlink("/dev/null", os.path.join(units, os.path.basename(timer)))
    return root


def cannot():
    """Why this machine cannot run the tests, or None."""
    if os.geteuid() != 0:
        return "root is needed to make and boot a container"
    missing = [tool for tool in TOOLS if not shutil.which(tool)]
    if missing:
        return "missing: %s (packages mmdebstrap, systemd-container, dpkg-dev, lintian)" % ", ".join(missing)
    return None


class Tap:
    def __init__(self):
        self.number = 0

    def write(self, passed, name, text=""):
        self.number += 1
        print("%s %d - %s" % ("ok" if passed else "not ok", self.number, name), flush=True)
        for line in text.splitlines():
            say(line)

    def test(self, name, function, *args):
        try:
            function(*args)
        except Exception as e:  # whatever it is, it is this test's failure
            self.write(False, name, str(e))
            return False
        self.write(True, name)
        return True

    def copy(self, path):
        """The TAP of the scenarios, numbered on; a scenario that never came to its end has failed."""
        planned = seen = 0
        with contextlib.suppress(FileNotFoundError), open(path, errors="backslashreplace") as f:
            for line in f:
                line = line.rstrip("\n")
                if plan := re.fullmatch(r"1\.\.(\d+)", line):
                    planned = int(plan.group(1))
                elif test := re.fullmatch(r"(ok|not ok) \d+( - .*)", line):
                    seen += 1
                    self.number += 1
                    print("%s %d%s" % (test.group(1), self.number, test.group(2)))
                else:
                    print(line)
        if seen < planned or planned == 0:
            self.write(False, "all scenarios were run", "%d of %d" % (seen, planned))


def main():
    suite, words = sys.argv[1], sys.argv[2:]
    why = cannot()
    if why:
        # Where CI runs, it must be able to.
        print("1..1\n%s" % ("not ok 1 - system tests on %s: %s" if os.environ.get("CI") == "true" else
                            "ok 1 - system tests on %s # SKIP %s") % (suite, why))
        return
    work = os.path.join(ROOT, "build/system", suite)
    out = work + "/out"
    shutil.rmtree(work, ignore_errors=True)
    os.makedirs(out)
    tap = Tap()
    packages = Packages(suite, work)
    if not packages.foreign and not words:
        for function in (test_package_built_twice_is_the_same_bytes, test_lintian_says_nothing,
                         test_exposure_is_1_5_or_better, test_units_differ_only_where_the_instance_is_named):
            tap.test(function.__name__, function, packages)
    root = prepare(suite, packages, out, words)
    packages.done()
    began = time.monotonic()
    try:
        boot(root, out, "sockd-test-%s-%d" % (suite, os.getpid()))
    except RuntimeError as e:
        with open(out + "/console", errors="backslashreplace") as f:
            tap.write(False, "the container comes to its end", "%s\n%s" % (e, f.read()[-4000:]))
    tap.copy(out + "/tap")
    say("the container ran for %.0f s" % (time.monotonic() - began))
    shutil.rmtree(root, ignore_errors=True)
    print("1..%d" % tap.number)


if __name__ == "__main__":
    main()
