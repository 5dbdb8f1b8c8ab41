# Build, run and test Paraxial. `make` or `make help` lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CLANG   ?= clang-14
BIN     := bin

# All that is compiled for a target has the flags of the packages, and is compiled once.
export CGO_ENABLED := 0
export GOFLAGS     := $(GOFLAGS) -trimpath

# Loading BPF programs needs root. Everything is compiled as the current user; only
# the steps that need root run as root, through sudo if necessary.
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
comma    := ,
empty    :=
KNOBS    := REQUIRE_ALL FIGURES SEED CASES ARCHES LIMIT_SECONDS SOAK_SECONDS RESTARTS UPGRADES HOSTILE_SECONDS HOSTILE_ACTORS PREVIOUS ENTRIES
KEPT     := PATH,HOME,$(subst $(empty) ,$(comma),$(KNOBS:%=PARAXIAL_%))
VMSUDO   := $(SUDO:sudo=sudo --preserve-env=PARAXIAL_VM_CACHE,PARAXIAL_VM_ACCEL)
TESTEXEC := $(SUDO:sudo=-exec "sudo --preserve-env=$(KEPT)")
TESTALL  := PARAXIAL_REQUIRE_ALL=1 go test -count=1 $(TESTEXEC)
# NORACE are folders whose tests need namespaces or root, or whose code has one goroutine, and NORACE1 tests
# of one goroutine beside a model. Under the race detector they find nothing and take ten times as long.
NORACE   := loader|tests|config|detect|doctor|fail2ban|index|lists|manpage|match|realip|replay
NORACE1  := TestCopiesAgree|TestFailureChangesNothing|TestRecall
# Tests that other targets run for longer: these targets, then make test LONGER=elsewhere, repeat none of them.
LONGER_PROOF    := TestIPv4UnderChange|TestIPv6UnderChange|TestListedSourcesStayAllowed|TestProgramAgainstModel|TestRecall|TestBlockedSourcesReachNoIP|TestMillionEntries
LONGER_SOAK     := TestSoak
LONGER_HOSTILE  := TestHostileAllAtOnce
LONGER_UPGRADES := TestAgentAndDaemonAreKilled|TestKilledAgainAndAgain|TestReporterIsKilled|TestUpgrade|TestOlderVersionIsRefused|TestRestartsAndUpgrades
LONGER_ALL      := ^($(LONGER_PROOF)|$(LONGER_SOAK)|$(LONGER_HOSTILE)|$(LONGER_UPGRADES))$$

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build paraxiald, paraxialctl and paraxial-agent into bin/
	@echo "Building. The first time this compiles all libraries and takes some minutes."
	go build -ldflags "-X main.version=$(VERSION)" -o $(BIN)/ ./cmd/paraxiald ./cmd/paraxialctl ./cmd/paraxial-agent

.PHONY: package
package: ## build .deb and .rpm for amd64 and arm64 into dist/
	packaging/build.sh

.PHONY: demo
demo: build ## show the main job in a sandbox, with real packets and a real block list
	go build -o $(BIN)/demo ./examples/demo
	$(SUDO) $(BIN)/demo

.PHONY: run
run: build ## filter on a real interface: make run IFACE=eth0
	@test -n "$(IFACE)" || { echo "name the interface: make run IFACE=eth0   (ip -br link lists them)"; exit 2; }
	$(SUDO) $(BIN)/paraxiald run --interface $(IFACE)

# The programs that tests run, beside those of the project, and Debian's packages of them.
NEEDED   := zsh fish systemd-analyze nsenter setpriv ip sshd ssh dropbear rpm lintian mandoc promtool mkfs.ext4 nft busybox \
	fail2ban-server dnsmasq chronyd mix pppd pppoe-server wg
PACKAGES := zsh fish systemd util-linux iproute2 openssh-server openssh-client dropbear-bin rpm lintian mandoc prometheus \
	e2fsprogs nftables busybox fail2ban dnsmasq-base chrony elixir ppp pppoe wireguard-tools

.PHONY: test-needs
test-needs:
	@PATH="$$PATH:/usr/sbin:/sbin"; \
	missing() { m=; for tool in $(NEEDED); do command -v $$tool >/dev/null || m="$$m $$tool"; done; test -n "$$m"; }; \
	missing || exit 0; \
	if command -v apt-get >/dev/null; then \
		echo "The tests need programs that are missing:$$m. Installing: $(PACKAGES)"; \
		$(SUDO) apt-get update -qq && $(SUDO) env DEBIAN_FRONTEND=noninteractive \
			apt-get install -y -qq --no-install-recommends $(PACKAGES) >/dev/null; \
	fi; \
	missing || exit 0; \
	echo "make test skips no test, and these programs are missing:$$m"; \
	echo "Install them (on Debian: apt-get install $(PACKAGES)),"; \
	echo "or run go test ./..., which skips what it cannot run."; \
	exit 1

.PHONY: test
test: test-needs ## run all tests; needs root, or sudo for the parts that do
	@command -v crowdsec >/dev/null || echo "CrowdSec is not installed: TestCrowdSec of tests/e2e is skipped"
	@echo "Testing all packages. On two idle cores this takes about 10 minutes, and the first time longer,"
	@echo "since everything is compiled. Each package is printed when it is done; tests/e2e takes longest."
	@# The tests of packages have no network to download it.
	go tool -modfile=tools/go.mod -n nfpm >/dev/null
	@# The packages that take longest begin first. Their tests wait more than they compute, so twice
	@# as many packages run at a time as there are cores, and in some of them several tests.
	PARAXIAL_REQUIRE_ALL=1 go run ./tests/progress go test -json -count=1 -timeout 30m -p $$(($$(nproc) * 2)) \
		$(if $(LONGER),-skip '$(LONGER_ALL)') $(TESTEXEC) ./tests/e2e ./tests/packaging ./tests/churn ./...

.PHONY: test-race
test-race: ## run the tests that need no namespaces under the race detector
	CGO_ENABLED=1 go test -race -short -timeout 30m -skip '$(NORACE1)' $$(go list ./... | grep -vE '^[^/]+/[^/]+/[^/]+/($(NORACE))(/|$$)')

# Servers whose logs the formats read. They are not part of test-needs, since Debian starts them.
SERVERS := nginx haproxy vsftpd dovecot-imapd postfix apache2 openssh-server openssh-client iproute2

.PHONY: test-servers
test-servers: ## let real servers log hostile names, paths and headers; on Debian, installs these servers
	@if command -v apt-get >/dev/null; then \
		dpkg-query -W -f '$${Status}\n' $(SERVERS) 2>/dev/null | grep -c 'ok installed' | grep -qx $(words $(SERVERS)) || \
		$(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SERVERS) >/dev/null; \
	fi
	$(TESTALL) -v -tags servers -timeout 10m ./tests/servers

.PHONY: proof
proof: ## run random tests for long: CASES (100 million) look-ups while the daemon changes, is killed and restarts
	PARAXIAL_CASES=$(or $(CASES),100000000) $(TESTALL) -v -timeout 2h ./tests/churn
	PARAXIAL_CASES=$$(( $(or $(CASES),100000000) / 20 )) $(TESTALL) -v -timeout 2h ./tests/differential
	PARAXIAL_CASES=1 $(TESTALL) -v -timeout 1h -run '^($(LONGER_PROOF))$$' ./daemon
	PARAXIAL_CASES=200000 PARAXIAL_ENTRIES=1000000 $(TESTALL) -v -timeout 1h -run '^($(LONGER_PROOF))$$' ./tests/e2e

.PHONY: figures
figures: ## check the figures in seconds that the documentation states; on a machine with nothing else to do
	PARAXIAL_FIGURES=1 PARAXIAL_LIMIT_SECONDS=10 PARAXIAL_ENTRIES=1000000 $(TESTALL) -v -timeout 1h -parallel 1 \
		-run 'Busy|Idle|LimitHolds|TestDetector$$|DetachedLink|Upgrade|BlockTakes|Million|Gaps|Hostile' \
		./tests/e2e ./store ./replay ./config

.PHONY: soak
soak: ## let a daemon live through changes, flapping interfaces, reloads and kills for MINUTES (30), under traffic
	PARAXIAL_SOAK_SECONDS=$$(( $(or $(MINUTES),30) * 60 )) $(TESTALL) -v -timeout 0 -run '^($(LONGER_SOAK))$$' ./tests/soak

.PHONY: hostile
hostile: ## attack a daemon from all sides at once for MINUTES (10), under traffic and with 512 MiB of memory
	PARAXIAL_HOSTILE_SECONDS=$$(( $(or $(MINUTES),10) * 60 )) $(TESTALL) -v -timeout 0 -run '^($(LONGER_HOSTILE))$$' ./tests/e2e

.PHONY: upgrades
upgrades: ## restart and kill the daemon 100 times, and 20 times switch to a version with other maps, under traffic
	PARAXIAL_RESTARTS=$(or $(RESTARTS),100) PARAXIAL_UPGRADES=$(or $(UPGRADES),20) $(TESTALL) -v -timeout 1h \
		-run '^($(LONGER_UPGRADES))$$' ./tests/e2e

.PHONY: upgrade-from
upgrade-from: ## upgrade from the version REF, and go back to it, under traffic: make upgrade-from REF=v1.0.0
	@test -n "$(REF)" || { echo "name a tag or commit: make upgrade-from REF=v1.0.0"; exit 2; }
	rm -rf $(BIN)/previous && git worktree prune && git worktree add --detach $(BIN)/previous/src $(REF)
	cd $(BIN)/previous/src && go build -o .. ./cmd/paraxiald ./cmd/paraxialctl
	git worktree remove --force $(BIN)/previous/src
	PARAXIAL_PREVIOUS=$(CURDIR)/$(BIN)/previous PARAXIAL_RESTARTS=$(or $(RESTARTS),20) \
		PARAXIAL_UPGRADES=$(or $(UPGRADES),10) $(TESTALL) -v -timeout 1h -run 'TestUpgrade|TestRestartsAndUpgrades' ./tests/e2e

.PHONY: bench-logs
bench-logs: build ## what paraxial-agent takes for a line, beside fail2ban and sshguard: LINES=10000000
	go run ./tests/bench/logs -bin $(BIN) -lines $(or $(LINES),1000000)

.PHONY: bench
bench: build ## measure against nft and ipset, under 10 minutes: BENCHFLAGS=-quick, or -docs docs
	go build -o $(BIN)/bench ./tests/bench
	$(SUDO) $(BIN)/bench -bin $(BIN) $(BENCHFLAGS)

# The parts of test-vm. KERNEL names kernels, and systemd. Without it, all of them.
KERNELS := $(filter-out systemd,$(KERNEL))
VMPARTS := $(if $(KERNEL),$(if $(KERNELS),test-vm-kernels) $(if $(filter systemd,$(KERNEL)),test-vm-systemd), \
	test-vm-kernels test-vm-systemd)

.PHONY: test-vm
test-vm: ## boot other kernels, and a Debian with systemd, in QEMU: KERNEL=5.10, devices or systemd
	@# An emulated machine keeps little more than one CPU busy. So two of them run at the same time.
	@echo "Testing in virtual machines, which takes minutes. Each part prints what it did when it has ended."
	@$(MAKE) --no-print-directory -j 2 --output-sync=target $(VMPARTS)

.PHONY: test-vm-kernels
test-vm-kernels:
	$(VMSUDO) env "PATH=$$PATH" go run ./tests/vm -kernel "$(KERNELS)" $(VMFLAGS)

.PHONY: test-vm-systemd
test-vm-systemd:
	rm -rf $(BIN)/vm && mkdir -p $(BIN)/vm
	ARCHES=amd64 FORMATS=deb VERSION=1.0.0 packaging/build.sh $(BIN)/vm
	ARCHES=amd64 FORMATS=deb VERSION=1.1.0 packaging/build.sh $(BIN)/vm
	$(VMSUDO) env "PATH=$$PATH" go run ./tests/vm/systemd \
		-old $(BIN)/vm/paraxial_1.0.0_amd64.deb -new $(BIN)/vm/paraxial_1.1.0_amd64.deb

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s, or a number of inputs: 3000x)
	./tests/fuzz.sh $(or $(FUZZTIME),10s)

.PHONY: generate
generate: ## compile bpf/ and generate its Go side (needs clang-14, llvm-14, libbpf-dev)
	printf '%s\n' ./tests/bench ./loader ./tests/churn | BPF2GO_CC=$(CLANG) xargs -P 2 -n 1 go generate

.PHONY: check-generate
check-generate: generate ## fail if the committed objects are not what bpf/ compiles to
	git diff --exit-code -- 'loader/*_bpfel.*' 'tests/bench/*_bpfel.*' 'tests/churn/*_bpfel.*'

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofmt-clean:"; echo "$$out"; exit 1; }
	go vet ./...
	go vet -tags servers ./tests/servers
	go vet -tags devices ./tests/e2e
	go tool -modfile=tools/go.mod staticcheck ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN) dist
