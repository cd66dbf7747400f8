# Lateen's build. `make` lists what can be made. Everything works offline once it has been fetched.
GO      ?= go
PKG     ?= ./...
ARGS    ?=
RACE    ?= -race
TIMEOUT ?= 20m
PARALLEL ?= 8
VERSION  = $(shell git describe --always --dirty 2>/dev/null || echo dev)

LINT     = $(GO) tool -modfile=tools/go.mod golangci-lint
GOLDEN   = $(shell grep -rl --include='*_test.go' '"github.com/lateen-mesh/lateen/internal/golden"' . | xargs -r -n1 dirname | sort -u)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo "PKG=./internal/plan chooses packages, ARGS='-run Weights -v' is handed on (test, golden, bench, soak, demo)."

.PHONY: build
build: ## bin/lateen
	$(GO) build -trimpath -ldflags '-X github.com/lateen-mesh/lateen/internal/cli.version=$(VERSION)' -o bin/ ./cmd/...

.PHONY: envoy
envoy: ## bin/envoy: the pinned Envoy, unless LATEEN_ENVOY or PATH has one that will do
	@tools/envoy/fetch

.PHONY: mariadb
mariadb: ## bin/mariadb: Debian's MariaDB server, for tests, unless PATH has one
	@tools/mariadb/fetch

.PHONY: demo
demo: build envoy ## BookInfo on this machine
	@exec bin/lateen demo $(ARGS)

.PHONY: test
test: build envoy mariadb cc ## every test, on real Envoys, with the race detector
	$(GO) test $(RACE) -parallel $(PARALLEL) -timeout $(TIMEOUT) $(ARGS) $(PKG)

.PHONY: golden
golden: ## rewrite the golden files; look at the difference before you commit it
	$(GO) test $(ARGS) $(or $(GOLDEN),$(error no package has golden cases)) -update

.PHONY: bench
bench: build envoy ## the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -timeout $(TIMEOUT) $(ARGS) $(PKG)

.PHONY: soak
soak: build envoy cc ## the tests named Load… at full length; `make test` runs them short
	LATEEN_LOAD=full $(GO) test $(RACE) -count 1 -run Load -timeout 2h $(ARGS) $(PKG)

.PHONY: lint
lint: ## golangci-lint as pinned in tools/go.mod
	$(LINT) run --allow-parallel-runners $(PKG)

.PHONY: format
format: ## write the Go files as lint wants them
	$(LINT) fmt $(patsubst ./...,,$(PKG))

.PHONY: generate
generate: ## write the generated files
	$(GO) generate ./...

.PHONY: generate-check
generate-check: ## fail if a generated file is not current
	@tools/unchanged $(MAKE) --no-print-directory generate

.PHONY: check
check: lint generate-check ## what CI runs: lint, generate-check, test
	@$(MAKE) --no-print-directory test

.PHONY: cc
cc:
	@[ -z '$(filter -race,$(RACE))' ] || command -v "$$($(GO) env CC)" >/dev/null || { \
	echo "test: error: the race detector needs a C compiler" >&2; \
	echo "test: hint: apt-get install gcc libc6-dev, or leave it out with 'make test RACE='" >&2; exit 1; }
