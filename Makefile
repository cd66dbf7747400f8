# Lateen's build. `make` lists what can be made. Everything works offline once it has been fetched.
GO      ?= go
PKG     ?= ./...
ARGS    ?=
RACE    ?= -race
TIMEOUT ?= 20m
PARALLEL ?= 8
# Tests that load a mesh, and count what fails, have the machine for themselves.
ALONE    = internal/meshtest
# Tests that do something to the machine of the cluster.
OWN      = ^Test(LoadAPIServerAway|LoadPodsDieWithTheAPIServerAway|LoadKills|CheckFindsProxiesOutOfSync)$$
TAG     ?= dev
CLUSTER  = bin/kubernetes/cluster
E2E      = $(GO) test -tags e2e -count 1 -v -parallel 4 -timeout 45m $(ARGS)
VERSION  = $(shell git describe --always --dirty 2>/dev/null || echo dev)

SETVERSION = $(foreach package,cli sidecar,-X github.com/lateen-mesh/lateen/internal/$(package).version=$(VERSION))

# Without its pages of traces gRPC needs no templates, and a program without these is smaller by a sixth: archtest.TestNoMethodIsCalledByName.
TAGS     = grpcnotrace

LINT     = $(GO) tool -modfile=tools/go.mod golangci-lint
GOLDEN   = $(shell grep -rl --include='*_test.go' '"github.com/lateen-mesh/lateen/internal/golden"' . | xargs -r -n1 dirname | sort -u)

.DEFAULT_GOAL := help

.PHONY: help
help: ## list what can be made
	@awk -F ':.*## ' '/^[a-z0-9-]+:.*## / { printf "  make %-16s %s\n", $$1, $$2 }' Makefile
	@echo "PKG=./internal/plan chooses packages, ARGS='-run Weights -v' is handed on (test, e2e, golden, bench, soak, demo)."

.PHONY: build
build: ## bin/lateen, bin/lateen-agent
	CGO_ENABLED=0 $(GO) build -trimpath -tags '$(TAGS)' -ldflags '$(SETVERSION)' -o bin/ ./cmd/...

.PHONY: envoy
envoy: ## bin/envoy: the pinned Envoy, unless LATEEN_ENVOY or PATH has one that will do
	@tools/envoy/fetch

.PHONY: mariadb
mariadb: ## bin/mariadb: Debian's MariaDB server, for tests and its image, unless /usr/sbin has one
	@tools/mariadb/fetch

.PHONY: kubernetes
kubernetes: ## bin/kubernetes: Kubernetes and CoreDNS for tests; nothing is done if nothing has changed
	@tools/cluster/build

.PHONY: helm
helm: ## bin/helm: Helm, as pinned in tools/chart/go.mod
	@cd tools/chart && $(GO) build -trimpath -o ../../bin/helm helm.sh/helm/v3/cmd/helm

.PHONY: images
images: build envoy kubernetes $(if $(PUSH),mariadb) ## container images below bin/images, or pushed: make images PUSH=REGISTRY/PREFIX TAG=1.0
	CGO_ENABLED=0 $(GO) build -trimpath -o bin/ ./e2e/cmd/testapp ./e2e/cmd/startmariadb
	$(GO) run -C tools ./images -bin ../bin -out ../bin/images -tag '$(TAG)' $(if $(PUSH),-push '$(PUSH)')

.PHONY: cluster
cluster: images cluster-command ## a Kubernetes on this machine, with the images; needs root
	@$(CLUSTER) up

.PHONY: cluster-images
cluster-images: images cluster-command ## build the images and give them to the cluster that is up
	@$(CLUSTER) images

.PHONY: cluster-shell
cluster-shell: cluster-command ## a shell in the network of the cluster, with kubectl
	@$(CLUSTER) exec $${SHELL:-sh}

.PHONY: cluster-down
cluster-down: cluster-command ## end the cluster; nothing of it is left
	@$(CLUSTER) down

.PHONY: cluster-command
cluster-command:
	@$(GO) build -trimpath -o bin/kubernetes/ ./e2e/cmd/cluster

.PHONY: e2e
ifdef KUBECONFIG
e2e: helm ## end-to-end tests on Kubernetes: in the cluster of `make cluster`, or where KUBECONFIG leads, with images of IMAGE_REGISTRY
	$(E2E) -skip '$(OWN)' ./e2e
else
e2e: mariadb images cluster-command helm
	$(E2E) ./internal/testcluster
	@$(CLUSTER) with $(E2E) -exec '$(CURDIR)/$(CLUSTER) exec' ./e2e
endif

.PHONY: e2e-soak
e2e-soak: mariadb images cluster-command ## the end-to-end tests named Load… at full length, in the cluster of `make cluster`; `make e2e` runs them short
	@LATEEN_LOAD=full $(CLUSTER) with $(E2E) -timeout 2h -exec '$(CURDIR)/$(CLUSTER) exec' -run '^TestLoad' ./e2e

.PHONY: demo
demo: build envoy ## BookInfo on this machine
	@exec bin/lateen demo $(ARGS)

.PHONY: test
test: build envoy mariadb kubernetes cc ## every test that needs no cluster, on real Envoys, with the race detector
	$(if $(filter ./...,$(PKG)),$(GO) test -C tools ./images)
	@failed=0; \
	for packages in $(if $(filter ./...,$(PKG)),"$$($(GO) list ./... | grep -v '/$(ALONE)$$')" ./$(ALONE),"$(PKG)"); do \
		$(GO) test $(RACE) -parallel $(PARALLEL) -timeout $(TIMEOUT) $(ARGS) $$packages || failed=1; \
	done; exit $$failed

.PHONY: golden
golden: ## rewrite the golden files; look at the difference before you commit it
	$(GO) test $(ARGS) $(or $(GOLDEN),$(error no package has golden cases)) -update

.PHONY: bench
bench: build envoy kubernetes ## the benchmarks
	$(GO) test -run '^$$' -bench . -benchmem -timeout $(TIMEOUT) $(ARGS) $(PKG)

.PHONY: bench-kubernetes
bench-kubernetes: kubernetes ## the control plane with an API server, 1000 services and 1000 proxies
	$(GO) test -run '^$$' -bench '^BenchmarkKubernetes$$/^proxies=1000$$' -timeout $(TIMEOUT) $(ARGS) ./bench

.PHONY: soak
soak: build envoy cc ## the tests named Load… at full length; `make test` runs them short
	LATEEN_LOAD=full $(GO) test $(RACE) -count 1 -run Load -timeout 2h $(ARGS) $(PKG)

.PHONY: lint
lint: ## golangci-lint as pinned in tools/go.mod
	$(LINT) run --allow-parallel-runners $(PKG)
	$(GO) mod tidy -diff

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
check: lint generate-check ## what CI runs: lint, generate-check, e2e, test
	@$(MAKE) --no-print-directory e2e
	@$(MAKE) --no-print-directory test

.PHONY: cc
cc:
	@[ -z '$(filter -race,$(RACE))' ] || command -v "$$($(GO) env CC)" >/dev/null || { \
	echo "test: error: the race detector needs a C compiler" >&2; \
	echo "test: hint: apt-get install gcc libc6-dev, or leave it out with 'make test RACE='" >&2; exit 1; }
