# Build, run and test Paraxial. `make` or `make help` lists the targets.

VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
CLANG   ?= clang-14
BIN     := bin

# Loading BPF programs needs root. Everything is compiled as you; only what has
# to run as root does, through sudo where you are not root.
SUDO     := $(shell [ "$$(id -u)" = 0 ] || echo sudo)
KEPT     := PATH,HOME,PARAXIAL_REQUIRE_ALL,PARAXIAL_SEED,PARAXIAL_CASES,PARAXIAL_LIMIT_SECONDS,PARAXIAL_SOAK_SECONDS,PARAXIAL_RESTARTS,PARAXIAL_UPGRADES,PARAXIAL_HOSTILE_SECONDS
VMSUDO   := $(SUDO:sudo=sudo --preserve-env=PARAXIAL_VM_CACHE,PARAXIAL_VM_ACCEL)
TESTEXEC := $(SUDO:sudo=-exec "sudo --preserve-env=$(KEPT)")

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: build
build: ## build paraxiald and paraxialctl into bin/
	CGO_ENABLED=0 go build -trimpath -ldflags "-X main.version=$(VERSION)" -o $(BIN)/ ./cmd/paraxiald ./cmd/paraxialctl

.PHONY: package
package: ## build .deb and .rpm for amd64 and arm64 into dist/
	packaging/build.sh

.PHONY: demo
demo: build ## see the main job in a sandbox of its own: real packets, a real block list
	CGO_ENABLED=0 go build -o $(BIN)/demo ./examples/demo
	$(SUDO) $(BIN)/demo

.PHONY: run
run: build ## filter on a real interface: make run IFACE=eth0
	@test -n "$(IFACE)" || { echo "name the interface: make run IFACE=eth0   (ip -br link lists them)"; exit 2; }
	$(SUDO) $(BIN)/paraxiald run --interface $(IFACE)

.PHONY: test
test: ## run all tests; needs root, or sudo for the parts that do
	PARAXIAL_REQUIRE_ALL=1 go test -count=1 -timeout 20m $(TESTEXEC) ./...

.PHONY: test-race
test-race: ## run the tests that need no namespaces under the race detector
	go test -race ./config/... ./control/... ./daemon/... ./detect/... ./metrics/... ./policy/... ./replay/... ./cmd/...

.PHONY: proof
proof: ## look up CASES (100 million) listed and as many unlisted sources while the daemon changes and dies
	PARAXIAL_REQUIRE_ALL=1 PARAXIAL_CASES=$(or $(CASES),100000000) go test -count=1 -v -timeout 2h $(TESTEXEC) ./tests/churn

.PHONY: soak
soak: ## let a daemon live through changes, flapping interfaces, reloads and kills for MINUTES (30), under traffic
	PARAXIAL_REQUIRE_ALL=1 PARAXIAL_SOAK_SECONDS=$$(( $(or $(MINUTES),30) * 60 )) go test -count=1 -v -timeout 0 $(TESTEXEC) ./tests/soak

.PHONY: upgrades
upgrades: ## restart and kill the daemon 100 times and replace it 20 times by another version, under traffic
	PARAXIAL_REQUIRE_ALL=1 PARAXIAL_RESTARTS=$(or $(RESTARTS),100) PARAXIAL_UPGRADES=$(or $(UPGRADES),20) go test -count=1 -v -timeout 1h $(TESTEXEC) -run 'Upgrade|Restart|OlderVersion' ./tests/e2e

.PHONY: bench
bench: build ## measure against nft and ipset, under 10 minutes: BENCHFLAGS=-quick, or -docs docs
	CGO_ENABLED=0 go build -o $(BIN)/bench ./tests/bench
	$(SUDO) $(BIN)/bench -bin $(BIN) $(BENCHFLAGS)

.PHONY: test-vm
test-vm: ## boot other kernels, and a Debian with systemd, in QEMU: KERNEL=5.10, or systemd
	@set -e; kernels="$(filter-out systemd,$(KERNEL))"; \
	if [ -z "$(KERNEL)" ] || [ -n "$$kernels" ]; then $(VMSUDO) env "PATH=$$PATH" go run ./tests/vm -kernel "$$kernels" $(VMFLAGS); fi
	@if [ -z "$(KERNEL)" ] || [ -n "$(filter systemd,$(KERNEL))" ]; then $(MAKE) --no-print-directory test-vm-systemd; fi

.PHONY: test-vm-systemd
test-vm-systemd:
	rm -rf $(BIN)/vm && mkdir -p $(BIN)/vm
	ARCHES=amd64 VERSION=1.0.0 packaging/build.sh $(BIN)/vm
	ARCHES=amd64 VERSION=1.1.0 packaging/build.sh $(BIN)/vm
	$(VMSUDO) env "PATH=$$PATH" go run ./tests/vm/systemd -old $(BIN)/vm/paraxial_1.0.0_amd64.deb -new $(BIN)/vm/paraxial_1.1.0_amd64.deb

.PHONY: fuzz
fuzz: ## run every fuzz target for FUZZTIME (10s)
	./tests/fuzz.sh $(or $(FUZZTIME),10s)

.PHONY: generate
generate: ## compile bpf/ and generate its Go side (needs clang-14, llvm-14, libbpf-dev)
	BPF2GO_CC=$(CLANG) go generate ./loader ./tests/bench ./tests/churn

.PHONY: check-generate
check-generate: generate ## fail if the committed objects are not what bpf/ compiles to
	git diff --exit-code -- 'loader/*_bpfel.*' 'tests/bench/*_bpfel.*' 'tests/churn/*_bpfel.*'

.PHONY: lint
lint: ## gofmt, go vet, staticcheck
	@out=$$(gofmt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "not gofmt-clean:"; echo "$$out"; exit 1; }
	go vet ./...
	go tool -modfile=tools/go.mod staticcheck ./...

.PHONY: clean
clean: ## remove what was built
	rm -rf $(BIN) dist
