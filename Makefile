# Penstock: build, test, install. `make` alone lists what there is.

PREFIX ?= /usr
DESTDIR ?=
# Fixed paths: the unit file names them.
BINDIR = $(PREFIX)/bin
UNITDIR ?= /lib/systemd/system
SYSUSERSDIR ?= $(PREFIX)/lib/sysusers.d
CONFDIR ?= /etc/penstock
DOCDIR ?= $(PREFIX)/share/doc/penstock

SWIFT ?= swift
INSTALL ?= install
STRIP ?= strip
RELEASE_FLAGS = -c release --static-swift-stdlib
DIST = dist

.DEFAULT_GOAL := help
.PHONY: help deps build demo test torture bench fuzz fuzz-corpus format lint check-unit install uninstall clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 14

deps: ## install the Debian packages that are missing; starts no service
	systemd/install-dependencies.sh

PROGRAMS = penstock penstock-hub

build: ## build the released programs into dist/: static Swift library, stripped
	$(INSTALL) -d $(DIST)
	for program in $(PROGRAMS); do \
	  $(SWIFT) build $(RELEASE_FLAGS) --product $$program && \
	  $(INSTALL) -m 755 "$$($(SWIFT) build $(RELEASE_FLAGS) --show-bin-path)/$$program" \
	    $(DIST)/$$program && \
	  $(STRIP) $(DIST)/$$program || exit; \
	done
	@ls -l $(PROGRAMS:%=$(DIST)/%)

demo: deps build ## brokers, pumps, gateway and hub, an outage and two SIGKILLs, then the audit
	$(DIST)/penstock demo

# Tests that start brokers, agents and other processes wait for them: one at a time, so that their
# deadlines measure the product and not the other tests.
PROCESS_TESTS = GatewayTests|ControlTests|CrashTests|PowerTests|IntegrationTests|MosquittoTests|AuditTests|ObservabilityTests|PlatformTests
# These mostly wait for keepalives and pauses: beside the others, in a process of their own.
WAITING_TESTS = NetworkTests|HubProcessTests
# The bundle itself, because two `swift test` in one directory wait for each other.
SUITE = "$$($(SWIFT) build --show-bin-path)/penstockPackageTests.xctest" \
  --testing-library swift-testing --no-parallel

TORTURE = .build/release/journal-torture

test: deps check-unit build ## unit, integration and crash tests, and the released program
	$(SWIFT) build $(RELEASE_FLAGS) --product journal-torture
	$(TORTURE) all --quick
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build --skip '$(PROCESS_TESTS)|$(WAITING_TESTS)'
	@log=.build/waiting-tests.log; \
	$(SUITE) --filter '$(WAITING_TESTS)' > $$log 2>&1 & waiting=$$!; \
	trap "kill $$waiting" INT TERM; \
	$(SUITE) --filter '$(PROCESS_TESTS)'; code=$$?; \
	wait $$waiting || code=1; \
	cat $$log; exit $$code

# The same tests as in `make test`, longer: as many kills, cuts and failing calls as a proof wants.
torture: deps build ## every campaign in full, with its negative controls; root for some
	$(SWIFT) build $(RELEASE_FLAGS) --product journal-torture
	$(TORTURE) all
	$(SWIFT) build --build-tests
	PENSTOCK_POWER_CUTS=240 PENSTOCK_DISK_CALLS=50 PENSTOCK_LOST_PAGES=20 \
	  $(SWIFT) test --skip-build --no-parallel --filter PowerTests
	PENSTOCK_CRASH_KILLS=500 PENSTOCK_FAILPOINT_SEEDS=1-20 PENSTOCK_SLOW_DISK_SECONDS=600 \
	  PENSTOCK_PAUSE_SECONDS=90 PENSTOCK_BACKLOG_MESSAGES=100000 \
	  $(SWIFT) test --skip-build --no-parallel \
	  --filter 'CrashTests|Failpoint|StallTests|ClockTests|ScarcityTests|OpeningTests|RingFullTests'
	PENSTOCK_HUB_KILLS=100 $(SWIFT) test --skip-build --no-parallel --filter HubProcessTests
	PENSTOCK_MALFORMED_LIVES=100 $(SWIFT) test --skip-build --no-parallel --filter NetworkTests
	PENSTOCK_HUB_KILLS=100 $(SWIFT) test --skip-build --no-parallel --filter HubProcessTests

bench: deps ## measure the figures of the README as ratios in one run (about 15 minutes)
	PENSTOCK_BENCHMARKS=1 $(SWIFT) build -c release --scratch-path .build/bench
	.build/bench/release/penstock-benchmarks $(BENCH)

FUZZ_BUILD = PENSTOCK_FUZZ=1 $(SWIFT) build -c release --scratch-path .build/fuzz --product penstock-fuzz
RUNS ?= 1000000

fuzz: ## fuzz the parsers with libFuzzer: RUNS=1000000 each, TARGET=ring for one
	$(FUZZ_BUILD)
	Tests/Fuzz/fuzz.sh run $(RUNS) $(TARGET)

fuzz-corpus: ## keep what the last `make fuzz` found new, as few inputs as cover the same
	$(FUZZ_BUILD)
	Tests/Fuzz/fuzz.sh minimise $(TARGET)

check-unit: ## check the systemd units: verify, exposure
	@for program in $(PROGRAMS); do systemd/check-unit.sh systemd/$$program.service \
	  || { code=$$?; [ $$code -eq 77 ] || exit $$code; }; done

format: ## format every Swift file in place
	$(SWIFT) format -i -r -p Package.swift Sources Tests

lint: ## fail where `make format` would change something
	$(SWIFT) format lint -s -r -p Package.swift Sources Tests

install: ## install dist/ (make build), units, account, sample configuration, documents
	@for program in $(PROGRAMS); do test -x $(DIST)/$$program \
	  || { echo "$(DIST)/$$program is missing: run 'make build' first" >&2; exit 1; }; done
	$(INSTALL) -d $(DESTDIR)$(UNITDIR)
	for program in $(PROGRAMS); do \
	  $(INSTALL) -D -m 755 $(DIST)/$$program $(DESTDIR)$(BINDIR)/$$program; \
	  sed -e 's|/usr/bin/penstock|$(BINDIR)/penstock|' -e 's|/etc/penstock|$(CONFDIR)|' \
	    -e 's|/usr/share/doc/penstock|$(DOCDIR)|' systemd/$$program.service \
	    > $(DESTDIR)$(UNITDIR)/$$program.service; \
	  chmod 644 $(DESTDIR)$(UNITDIR)/$$program.service; \
	done
	$(INSTALL) -D -m 644 systemd/penstock.sysusers $(DESTDIR)$(SYSUSERSDIR)/penstock.conf
	$(INSTALL) -d -m 755 $(DESTDIR)$(CONFDIR)
	for file in edge-config/*; do case $$file in \
	  *.yaml) $(INSTALL) -m 644 "$$file" "$(DESTDIR)$(CONFDIR)/$$(basename "$$file").example" ;; \
	  *.conf) $(INSTALL) -D -m 644 "$$file" "$(DESTDIR)$(DOCDIR)/$$(basename "$$file")" ;; \
	  esac; done
	$(INSTALL) -d $(DESTDIR)$(DOCDIR)
	for file in README.md CHANGELOG.md LICENSE \
	  Sources/Observability/Observability.docc/Metrics.md; do \
	  if [ -f "$$file" ]; then $(INSTALL) -m 644 "$$file" $(DESTDIR)$(DOCDIR)/; fi; done
	@[ -n "$(DESTDIR)" ] || echo "next: systemd-sysusers; write $(CONFDIR)/penstock.yaml on a" \
	  "gateway, $(CONFDIR)/hub.yaml at the centre; systemctl daemon-reload;" \
	  "systemctl enable --now penstock (or penstock-hub)"

uninstall: ## remove what install put there; configuration, journals and databases stay
	for program in $(PROGRAMS); do \
	  rm -f $(DESTDIR)$(BINDIR)/$$program $(DESTDIR)$(UNITDIR)/$$program.service; done
	rm -f $(DESTDIR)$(SYSUSERSDIR)/penstock.conf $(DESTDIR)$(CONFDIR)/*.yaml.example
	rm -rf $(DESTDIR)$(DOCDIR)

clean: ## remove build products
	rm -rf .build $(DIST)
