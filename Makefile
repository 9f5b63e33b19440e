# Evenkeel. `make` prints this help.
TAGS    := sqlite_omit_load_extension,osusergo,netgo
VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
GO      := go
BUILD   := $(GO) build -tags $(TAGS) -ldflags "-X main.version=$(VERSION)"
SEEDS   ?= 1000
FUZZ    ?= 20s
PACKAGES = $(shell $(GO) list -tags $(TAGS) ./... | grep -v /lab/e2e)
# program:Debian package, for what a bare Debian or Ubuntu with Go may lack
NEEDS   := gcc:gcc ip:iproute2 nft:nftables mkfs.ext4:e2fsprogs sqlite3:sqlite3 curl:curl fio:fio nbdinfo:libnbd-bin \
           nbdcopy:libnbd-bin qemu-io:qemu-utils tcpdump:tcpdump chromium:chromium ping:iputils-ping nsenter:util-linux

.DEFAULT_GOAL := help
.PHONY: help deps build run down test check generate sim fuzz figures bench clean

help: ## print this help
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## (.*)/  make \1\t\2/' | expand -t 20

deps: ## install what is missing on Debian or Ubuntu (as root)
	@missing=""; for n in $(NEEDS); do command -v $${n%%:*} >/dev/null 2>&1 || [ -x /usr/sbin/$${n%%:*} ] || missing="$$missing $${n##*:}"; done; \
	if [ -n "$$missing" ]; then echo "installing:$$missing"; apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $$missing >/dev/null; fi

build: ## build bin/evenkeel
	$(BUILD) -o bin/evenkeel .

run: deps build ## bring up a whole pair on this machine and print both consoles (Ctrl-C ends it)
	bin/evenkeel lab up

down: build ## end the pair of make run
	bin/evenkeel lab down

test: deps build ## all tests: rules, unit, property, simulation, then end to end in the lab and the browser
	$(GO) vet -tags $(TAGS) ./...
	$(GO) test -tags $(TAGS) -p 1 -timeout 15m $(PACKAGES)
	$(GO) test -tags $(TAGS) -count=1 -p 1 -timeout 20m ./lab/e2e/...

check: ## the fast part: format, vet, staticcheck, generated files current, house rules, unit tests
	@out=$$(gofmt -l $$(git ls-files '*.go')); [ -z "$$out" ] || { echo "not formatted: $$out"; exit 1; }
	$(GO) vet -tags $(TAGS) ./...
	$(GO) tool staticcheck -tags $(TAGS) ./...
	$(GO) tool templ generate -path templates >/dev/null && git diff --exit-code --stat -- templates
	$(GO) test -tags $(TAGS) -short $(PACKAGES)

generate: ## make the generated files new
	$(GO) tool templ generate -path templates

sim: ## more seeds for the simulations: make sim SEEDS=100000
	$(GO) test -count=1 -timeout 0 ./ha/sim -seeds $(SEEDS)

fuzz: ## every fuzz target for a while: make fuzz FUZZ=5m
	@for p in $$($(GO) list ./...); do for f in $$($(GO) test -list '^Fuzz' $$p 2>/dev/null | grep '^Fuzz'); do \
	  echo "$$p $$f"; $(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZ) $$p || exit 1; done; done

# a filter must not hide that what it reads has failed; a plain sh may not know pipefail
figures: SHELL := /bin/bash
figures: .SHELLFLAGS := -o pipefail -c
figures: build ## the figures of the pair: gaps of ten switch-overs and takeovers, fio on the scratch volume, memory
	$(GO) test -tags $(TAGS),figures -count=1 -timeout 30m -v -run 'TestGaps|TestFio' ./lab/e2e | grep -v "time="

bench: build ## the benchmarks; they print ratios against what they compare with
	$(GO) test -tags $(TAGS) -run '^$$' -bench . -benchtime 1s ./ha/... ./replication/...

clean: ## remove what was built
	rm -rf bin out
