# make help lists the targets.

PREFIX     ?= /usr/local
SYSCONFDIR ?= /etc
UNITDIR    ?= $(PREFIX)/lib/systemd/system
DESTDIR    ?=

# The version of a release is its tag; a tree without git is a development
# build. VERSION=v1.2.3 on the command line says otherwise.
VERSION ?= $(shell git describe --tags --always --dirty 2>/dev/null)
LDFLAGS := $(if $(VERSION),-X github.com/thronghq/throng/internal/buildinfo.version=$(VERSION))

# Distributions may tell their Go not to fetch the release that go.mod asks for.
export GOTOOLCHAIN ?= auto

GOFUMPT     := go run mvdan.cc/gofumpt@v0.12.0
STATICCHECK := go run honnef.co/go/tools/cmd/staticcheck@v0.8.2

# How long each fuzz target runs in make test.
FUZZTIME ?= 5s

.PHONY: build
build: ## build bin/throng, which needs no library of the machine
	CGO_ENABLED=0 go build -buildvcs=false -ldflags '$(LDFLAGS)' -o bin/throng ./cmd/throng

.PHONY: run
run: build ## build and serve with --dev; THRONG_ variables count, too
	exec bin/throng serve --dev

.PHONY: check
check: lint ## the fast part of make test: style, vet, staticcheck, short tests
	go test -short ./...

.PHONY: lint
lint:
	@unformatted="$$($(GOFUMPT) -l .)" || exit 1; \
	if [ -n "$$unformatted" ]; then \
		echo "not formatted as gofumpt does:"; echo "$$unformatted"; exit 1; \
	fi
	go vet ./...
	$(STATICCHECK) ./...

.PHONY: test
test: tools lint ## everything: the race detector, fuzzing, the browser, kill -9; installs what is missing
	go build -buildvcs=false -race -o bin/throng-race ./cmd/throng
	THRONG_BINARY='$(CURDIR)/bin/throng-race' go test -race -count=1 -timeout 30m ./...
	go run ./bench/regress
	.ci/fuzz $(FUZZTIME)

.PHONY: regress
regress: tools ## hold the hot path's instructions to the last release's; RECORD=1 writes them for a release
	go run ./bench/regress $(if $(RECORD),--record)

.PHONY: tools
tools:
	.ci/tools

# What make bench writes; a quick run leaves the published results alone.
RESULTS := $(if $(QUICK),bin/results,bench/results)

bin/floor: bench/floor/floor.c
	@mkdir -p bin
	gcc -std=gnu11 -O2 -Wall -Wextra -o $@ $<

.PHONY: bench
bench: build bin/floor ## measure throng beside C programs, about 25 minutes; QUICK=1 for a rough run
	go run ./bench/compare --out $(RESULTS) $(if $(QUICK),--quick) --curves
	cd bench/plot && go run . '$(CURDIR)/$(RESULTS)'

# The guest of make million: its connections, its rooms, the members of the
# largest, the seconds that connections are held, and the guest's own settings.
CONNECTIONS ?= 1000000
ROOMS       ?= 10000
LARGEST     ?= 100000
HOLD        ?= 60s
MEMORY      ?= 16384
SLOW        ?= 12

.PHONY: million
million: build ## hold a million connections in a guest, an hour or less; CONNECTIONS=50000 for fewer
	cp bin/throng bin/generator
	mkdir -p '$(RESULTS)'
	OUT='$(abspath $(RESULTS))' ACCEL='$(ACCEL)' MEMORY='$(MEMORY)' SLOW='$(SLOW)' \
		PASS='CONNECTIONS=$(CONNECTIONS) ROOMS=$(ROOMS) LARGEST=$(LARGEST) HOLD=$(HOLD)' \
		bench/guest/guest bench/guest/million bench/guest/throng.toml bin/throng bin/generator

.PHONY: bin/peers
bin/peers:
	cd bench/peers && go vet . && go test -count=1 . && go build -o ../../bin/peers .

.PHONY: peers
peers: build bin/floor ## measure throng beside servers over other libraries, about 20 minutes; ROUNDS=3 for fewer
	@if command -v npm >/dev/null; then cd bench/peers/node && npm ci --ignore-scripts; else echo 'npm is not installed: ws and socket.io are left out'; fi
	$(MAKE) bin/peers
	go run ./bench/compare --peers --out $(RESULTS) $(if $(QUICK),--quick) $(if $(ROUNDS),--rounds $(ROUNDS))

.PHONY: flame
flame: build ## draw flame graphs of the server with perf, in bench/results
	bench/flame/record $(RESULTS)

.PHONY: wrk
wrk: build ## load handshakes, plain HTTP and the REST API with wrk, and check its counts
	bench/wrk/run

.PHONY: tsung
tsung: build ## load the echo and rooms with tsung; its report stays in bin/tsung
	bench/tsung/run

.PHONY: install
install: build ## install binary, unit and configuration (PREFIX, DESTDIR); as root it creates the user
	install -D -m 755 bin/throng '$(DESTDIR)$(PREFIX)/bin/throng'
	install -d '$(DESTDIR)$(UNITDIR)'
	sed 's|^ExecStart=/usr/local/|ExecStart=$(PREFIX)/|' deploy/throng.service >'$(DESTDIR)$(UNITDIR)/throng.service'
	chmod 644 '$(DESTDIR)$(UNITDIR)/throng.service'
	test -e '$(DESTDIR)$(SYSCONFDIR)/throng/throng.toml' || \
		install -D -m 644 deploy/throng.toml '$(DESTDIR)$(SYSCONFDIR)/throng/throng.toml'
	@if [ -z '$(DESTDIR)' ] && [ "$$(id -u)" -eq 0 ]; then \
		deploy/create-user && \
		if [ -d /run/systemd/system ]; then systemctl daemon-reload; fi && \
		echo 'installed; now: systemctl enable --now throng'; \
	fi

.PHONY: clean
clean: ## remove what make builds
	rm -rf bin

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
