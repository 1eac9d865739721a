# sockd. `make help` lists the targets.
#
# All that is made lies in build/VARIANT: the two programs, and libsockd.a, which is every source but their two
# main()s and is what unit tests and fuzz targets are linked with. Sources are found by wildcard.

VARIANT ?= release
B := build/$(VARIANT)
VERSION := $(shell sed -n '1s/.*(\(.*\)).*/\1/p' debian/changelog)
PYTHON ?= python3
FUZZ_SECONDS ?= 20

prefix ?= /usr/local
sbindir ?= $(prefix)/sbin
bindir ?= $(prefix)/bin
mandir ?= $(prefix)/share/man
includedir ?= $(prefix)/include
pkgconfigdir ?= $(prefix)/share/pkgconfig
unitdir ?= $(if $(filter /usr,$(prefix)),/lib,$(prefix)/lib)/systemd/system
sysconfdir ?= /etc
sysusersdir ?= $(prefix)/lib/sysusers.d
completionsdir ?= $(prefix)/share/bash-completion/completions

# Flags. CFLAGS, CPPFLAGS and LDFLAGS come from dpkg-buildflags in a package build; what follows them is always added.

CFLAGS ?= -g -O2 -fPIE -fstack-protector-strong -fstack-clash-protection
CPPFLAGS ?= -D_FORTIFY_SOURCE=2
LDFLAGS ?= -pie -Wl,-z,relro -Wl,-z,now

WARNINGS := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wpointer-arith -Wcast-qual -Wvla \
            -Wwrite-strings -Wformat=2
WERROR ?= $(if $(filter true,$(CI)),-Werror)
LIBRARIES := libconfig libsystemd jansson libedit libmicrohttpd
pkg_config = $(shell pkg-config $(1) $(LIBRARIES) 2>/dev/null)

SANITIZE := -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-omit-frame-pointer -U_FORTIFY_SOURCE
FLAGS_asan := $(SANITIZE)
FLAGS_fuzz := $(SANITIZE) -fsanitize=fuzzer-no-link -O1
# gcc would have the figures written before an execve, and then never again: by a child that has the spawner's memory.
FLAGS_cover := --coverage -O0 -U_FORTIFY_SOURCE -fno-builtin-execve
# gcc 12 loses sight of objects that hang on a list by a link inside them, and calls them leaked; ASan and valgrind look
# for leaks instead.
FLAGS_analyzer := -fanalyzer -Wno-analyzer-malloc-leak
CC_fuzz := clang
CC_clang := clang
CC := $(or $(CC_$(VARIANT)),$(CC))

ALL_CPPFLAGS := $(CPPFLAGS) -Isrc -D_GNU_SOURCE -DSOCKD_VERSION='"$(VERSION)"' $(call pkg_config,--cflags)
ALL_CFLAGS := -std=gnu17 $(WARNINGS) $(CFLAGS) $(WERROR) $(FLAGS_$(VARIANT))
ALL_LDFLAGS := $(LDFLAGS) -Wl,--as-needed $(FLAGS_$(VARIANT))
LDLIBS := $(call pkg_config,--libs) -lresolv
LDLIBS_bare_uring := -luring

# Sources.

MAINS := src/sockd.c src/sockctl.c
SRC := $(sort $(wildcard src/*.c src/*/*.c))
LIB_OBJ := $(patsubst %.c,$B/obj/%.o,$(filter-out $(MAINS),$(SRC)))
PROGRAMS := $B/sockd $B/sockctl
UNIT := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/unit/test_*.c))
FUZZ := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/fuzz/fuzz_*.c))
PLUGINS := $(patsubst tests/%.c,$B/tests/%.so,$(wildcard tests/plugins/*.c)) \
           $(patsubst tests/%.cc,$B/tests/%.so,$(wildcard tests/plugins/*.cc))
SOAK := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/soak/*.c))
BENCH := $(patsubst tests/%.c,$B/tests/%,$(wildcard tests/bench/*.c))
# Its library is not among the build dependencies; `make bench` installs it.
BENCH := $(filter-out $(if $(shell pkg-config --exists liburing 2>/dev/null || echo no),%/bare_uring),$(BENCH))
BLACKBOX := $(wildcard tests/blackbox/test_*.py)
MAN := $(wildcard src/*.[1-8] etc/*.[1-8])
FORMAT := $(wildcard src/*.[ch] src/*/*.[ch] tests/*/*.[ch])

Q := $(if $(V),,@)
silent := $(findstring s,$(firstword -$(MAKEFLAGS)))
say = $(if $(V)$(silent),,@printf '  %-6s %s\n' $(1) $(2))
RUN := $(PYTHON) tests/run.py
# Where many tests share two processors with others, a few that fail are tried once more, and shown.
AGAIN := $(if $(filter true,$(CI)),--again 3)
SUITES := unit fuzz-replay blackbox
RELEASES ?= bookworm trixie
# A build on all processors, unless make was told otherwise.
BUILD = $(MAKE) --no-print-directory $(if $(findstring -j,$(MAKEFLAGS)),,-j$(shell nproc))

# For the user. The targets that build and run all first see to the packages that this takes.

all: $(PROGRAMS) ## build sockd and sockctl (build/release)
	@:

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1|\2/p' Makefile | awk -F'|' '{ printf "  make %-14s %s\n", $$1, $$2 }'

run: deps ## install what is missing, build, and run sockd here on etc/sockd.conf
	@$(BUILD) all
	@echo "sockd runs until Ctrl-C. In a second terminal, type:  build/release/sockctl send hello"
	@exec $B/sockd -f etc/sockd.conf

check: deps ## install what is missing, build, and pass all tests; WITHOUT="system" leaves some out
	@$(MAKE) --no-print-directory suites SUITES='$(filter-out $(WITHOUT),$(SUITES) source-lint man-lint system)'

deps:
	@.ci/deps

# Every suite is run, whatever became of the one before.
suites:
	@$(BUILD) all test-programs
	@failed=0; for suite in $(SUITES); do $(MAKE) --no-print-directory $$suite || failed=1; done; \
	    $(RUN) --sum $B/counts/* && exit $$failed

unit: $(UNIT) ## the unit tests
	@CMOCKA_MESSAGE_OUTPUT=TAP $(RUN) $(AGAIN) -o $B/counts/unit unit $(UNIT)

blackbox: $(PROGRAMS) $(PLUGINS) $(SOAK) ## the black-box tests; TESTS="tests/blackbox/test_x.py" for some of them
	@SOCKD_BUILD=$B $(RUN) $(AGAIN) -o $B/counts/blackbox blackbox $(patsubst %,'$(PYTHON) %',$(or $(TESTS),$(BLACKBOX)))

fuzz-replay: $(FUZZ:%=%.replay) ## each parser once on its corpus
	@$(RUN) -o $B/counts/fuzz-replay fuzz-replay \
	    $(foreach f,$(FUZZ),'$f.replay $(f:$B/tests/fuzz/fuzz_%=tests/fuzz/corpus/%)')

# Root and some tools are needed; without them the tests say so, and count as skipped.
system: ## the package in containers that boot systemd; RELEASES="bookworm", SCENARIOS="a8 purge" for some of it
	@$(RUN) $(AGAIN) -t 2400 -o $B/counts/system system \
	    $(RELEASES:%='$(PYTHON) tests/system/run.py % $(SCENARIOS)')

source-lint: ## which file includes which, and how long one is
	@$(RUN) -o $B/counts/source source-lint '$(PYTHON) tests/source.py'

man-lint: ## the manual pages, by mandoc, and by groff where it is
	@$(RUN) -o $B/counts/man man-lint '$(PYTHON) tests/man.py $(MAN)'

sanitize: ## the tests once more with AddressSanitizer and UndefinedBehaviorSanitizer
	@SOCKD_SLOW=4 ASAN_OPTIONS=detect_stack_use_after_return=1 UBSAN_OPTIONS=print_stacktrace=1 \
	    $(MAKE) --no-print-directory VARIANT=asan suites

# Debian 12's valgrind knows no pidfd_open(2), without which a process of ours holds no child; ASan runs these.
VALGRIND_UNIT := $(filter-out %/test_spawn %/test_spawn_pool,$(UNIT))

valgrind: $(UNIT) ## the unit tests under valgrind
	@SOCKD_SLOW=4 CMOCKA_MESSAGE_OUTPUT=TAP $(RUN) -o build/valgrind/counts/valgrind valgrind \
	    $(VALGRIND_UNIT:%='valgrind -q --error-exitcode=99 --leak-check=full --track-fds=no %')

fuzz: ## run each libFuzzer target for FUZZ_SECONDS (20), from a copy of its corpus
	@$(BUILD) VARIANT=fuzz fuzz-targets
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzz-run

fuzz-targets: $(FUZZ)

fuzz-run:
	@rm -rf $B/corpus && mkdir -p $B/corpus $B/found && cp -r tests/fuzz/corpus/. $B/corpus
	@$(RUN) -o $B/counts/fuzz fuzz $(foreach f,$(FUZZ),'$f -max_total_time=$(FUZZ_SECONDS) -timeout=10 \
	    -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix=$B/found/ $(f:$B/tests/fuzz/fuzz_%=$B/corpus/%)')

analyze: ## gcc -fanalyzer, clang's warnings, clang-tidy, cppcheck: all clean
	@$(RUN) -j 1 -o build/analyzer/counts/analyze analyze $(ANALYZERS:%='$(MAKE) -s analyze-%')

ANALYZERS := gcc clang tidy cppcheck

analyze-gcc:
	@$(BUILD) WERROR=-Werror VARIANT=analyzer objects

analyze-clang:
	@$(BUILD) WERROR=-Werror VARIANT=clang all test-programs

TIDY_FLAGS := -std=gnu17 $(ALL_CPPFLAGS) -U_FORTIFY_SOURCE
analyze-tidy:
	@printf '%s\n' $(SRC) | xargs -P $$(nproc) -n 4 sh -c 'clang-tidy --quiet "$$@" -- $(subst ','\'',$(TIDY_FLAGS))' tidy

analyze-cppcheck:
	@cppcheck -q -j$$(nproc) --enable=warning,performance,portability --std=c11 --inline-suppr --error-exitcode=1 \
	    --suppress=missingIncludeSystem -Isrc -D_GNU_SOURCE src

objects: $(SRC:%.c=$B/obj/%.o)
test-programs: $(UNIT) $(FUZZ:%=%.replay) $(BENCH) $(SOAK) $(PLUGINS)

soak: $(PROGRAMS) $(SOAK) ## helpers, programs, reloads, configurations, each harmed at length; SEED=N replays
	@for soak in helpers programs reload mutations; do \
	    $(PYTHON) tests/soak/$$soak.py $B $(if $(SEED),--seed $(SEED)) || exit; done

cover: ## line coverage of the tests
	@if [ -d build/cover ]; then find build/cover -name '*.gcda' -delete; fi
	-@GCOV_ERROR_FILE=/dev/null $(MAKE) --no-print-directory VARIANT=cover suites
	@gcovr --root . --filter src/ --object-directory build/cover/obj --exclude-unreachable-branches

format: ## clang-format all C sources
	clang-format -i $(FORMAT)

format-check: ## whether `make format` would change anything
	@clang-format --dry-run -Werror $(FORMAT)

bench: deps ## sockd beside its peers (installs them), and its goals; BENCH_FLAGS=--write writes the results down
	@$(PYTHON) tests/bench/run.py --install
	@$(BUILD) bench-programs
	@$(PYTHON) tests/bench/run.py $B $(BENCH_FLAGS)

bench-programs: $(PROGRAMS) $(BENCH)

instructions: $(PROGRAMS) ## instructions for a request, beside those recorded (callgrind; of gcc 12)
	@$(RUN) -o $B/counts/instructions instructions '$(PYTHON) tests/bench/instructions.py $B'

deb: deps ## the Debian package, in the directory above
	dpkg-buildpackage -b -uc -us

install-dev: ## to DESTDIR: what an author of plug-ins needs
	install -D -m 644 src/sockd-plugin.h $(DESTDIR)$(includedir)/sockd-plugin.h
	install -d $(DESTDIR)$(pkgconfigdir)
	sed 's|@prefix@|$(prefix)|; s|@version@|$(VERSION)|' src/sockd.pc.in >$(DESTDIR)$(pkgconfigdir)/sockd.pc
	chmod 644 $(DESTDIR)$(pkgconfigdir)/sockd.pc

install: all install-dev ## install to DESTDIR, below prefix (/usr/local)
	install -D -m 755 $B/sockd $(DESTDIR)$(sbindir)/sockd
	install -D -m 755 $B/sockctl $(DESTDIR)$(bindir)/sockctl
	install -d $(DESTDIR)$(sysconfdir)/sockd.d
	[ -e $(DESTDIR)$(sysconfdir)/sockd.conf ] || install -m 644 etc/sockd.conf $(DESTDIR)$(sysconfdir)/sockd.conf
	for page in $(MAN); do install -D -m 644 $$page $(DESTDIR)$(mandir)/man$${page##*.}/$${page##*/} || exit; done
	for unit in $(wildcard systemd/*.service systemd/*.socket); do \
	    install -D -m 644 $$unit $(DESTDIR)$(unitdir)/$${unit##*/} || exit; done
	install -D -m 644 systemd/sockd.sysusers $(DESTDIR)$(sysusersdir)/sockd.conf
	install -D -m 644 etc/sockctl.bash-completion $(DESTDIR)$(completionsdir)/sockctl

clean: ## remove build/
	rm -rf build

# How things are made.

$(PROGRAMS): $B/%: $B/obj/src/%.o $B/libsockd.a
	$(call say,LD,$@)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$B/libsockd.a: $(LIB_OBJ)
	$(call say,AR,$@)
	$(Q)rm -f $@ && $(AR) rcs $@ $^

$B/obj/%.o: %.c Makefile debian/changelog
	$(call say,CC,$<)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -MMD -MP -c -o $@ $<

$B/tests/unit/%: $B/obj/tests/unit/%.o $B/libsockd.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS) -lcmocka

$B/tests/fuzz/%.replay: $B/obj/tests/fuzz/%.o $B/obj/tests/fuzz/replay.o $B/libsockd.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS)

$B/tests/fuzz/%: $B/obj/tests/fuzz/%.o $B/libsockd.a
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -fsanitize=fuzzer -o $@ $^ $(LDLIBS)

# As ALL_CFLAGS, but for an object that is loaded.
$B/tests/plugins/%.so: tests/plugins/%.c src/sockd-plugin.h Makefile
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_CPPFLAGS) $(ALL_CFLAGS) -fPIC $(filter-out -pie,$(ALL_LDFLAGS)) -shared -o $@ $<

$B/tests/plugins/%.so: tests/plugins/%.cc src/sockd-plugin.h Makefile
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CXX) $(ALL_CPPFLAGS) $(CFLAGS) -Wall -Wextra $(WERROR) -fPIC $(filter-out -pie,$(LDFLAGS)) -shared -o $@ $<

# Without sanitizers, which change the world of a process.
$B/tests/soak/probe: tests/soak/probe.c Makefile
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) -std=gnu17 -D_GNU_SOURCE $(WARNINGS) $(CFLAGS) $(WERROR) -o $@ $<

$(BENCH) $(filter-out %/probe,$(SOAK)): $B/tests/%: $B/obj/tests/%.o
	$(call say,LD,$@)
	$(Q)mkdir -p $(@D)
	$(Q)$(CC) $(ALL_LDFLAGS) -o $@ $^ $(LDLIBS_$(@F))

-include $(shell find $B/obj -name '*.d' 2>/dev/null)

.DELETE_ON_ERROR:
.SECONDARY:
.PHONY: all help run check deps suites unit blackbox fuzz-replay system source-lint man-lint sanitize valgrind fuzz fuzz-targets fuzz-run analyze \
        $(ANALYZERS:%=analyze-%) objects test-programs bench-programs instructions soak cover format format-check bench deb install \
        install-dev clean
