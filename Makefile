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

build: ## build the released program: dist/penstock, static Swift library, stripped
	$(SWIFT) build $(RELEASE_FLAGS) --product penstock
	$(INSTALL) -d $(DIST)
	$(INSTALL) -m 755 "$$($(SWIFT) build $(RELEASE_FLAGS) --show-bin-path)/penstock" $(DIST)/penstock
	$(STRIP) $(DIST)/penstock
	@ls -l $(DIST)/penstock

demo: deps build ## two private brokers, pumps, an outage and a SIGKILL, then the audit
	$(DIST)/penstock demo

# Tests that start brokers, agents and other processes wait for them: one at a time, so that their
# deadlines measure the product and not the other tests.
PROCESS_TESTS = HubProcessTests|CrashTests|PowerTests|NetworkTests|IntegrationTests|MosquittoTests|AuditTests|ObservabilityTests|PlatformTests

TORTURE = .build/release/journal-torture

test: deps check-unit build ## unit, integration and crash tests, and the released program
	$(SWIFT) build $(RELEASE_FLAGS) --product journal-torture
	$(TORTURE) all --quick
	$(SWIFT) build --build-tests
	$(SWIFT) test --skip-build --skip '$(PROCESS_TESTS)'
	$(SWIFT) test --skip-build --no-parallel --filter '$(PROCESS_TESTS)'

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

check-unit: ## check the systemd unit: verify, exposure
	@systemd/check-unit.sh || { code=$$?; [ $$code -eq 77 ] || exit $$code; }

format: ## format every Swift file in place
	$(SWIFT) format -i -r -p Package.swift Sources Tests

lint: ## fail where `make format` would change something
	$(SWIFT) format lint -s -r -p Package.swift Sources Tests

install: ## install dist/penstock (make build), unit, account, sample configuration, documents
	@test -x $(DIST)/penstock \
	  || { echo "$(DIST)/penstock is missing: run 'make build' first" >&2; exit 1; }
	$(INSTALL) -D -m 755 $(DIST)/penstock $(DESTDIR)$(BINDIR)/penstock
	$(INSTALL) -d $(DESTDIR)$(UNITDIR)
	sed -e 's|/usr/bin/penstock|$(BINDIR)/penstock|' -e 's|/etc/penstock|$(CONFDIR)|' \
	  -e 's|/usr/share/doc/penstock|$(DOCDIR)|' systemd/penstock.service \
	  > $(DESTDIR)$(UNITDIR)/penstock.service
	chmod 644 $(DESTDIR)$(UNITDIR)/penstock.service
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
	@[ -n "$(DESTDIR)" ] || echo "next: systemd-sysusers; write $(CONFDIR)/penstock.yaml;" \
	  "systemctl daemon-reload; systemctl enable --now penstock"

uninstall: ## remove what install put there; configuration and journals stay
	rm -f $(DESTDIR)$(BINDIR)/penstock $(DESTDIR)$(UNITDIR)/penstock.service
	rm -f $(DESTDIR)$(SYSUSERSDIR)/penstock.conf $(DESTDIR)$(CONFDIR)/*.yaml.example
	rm -rf $(DESTDIR)$(DOCDIR)

clean: ## remove build products
	rm -rf .build $(DIST)
