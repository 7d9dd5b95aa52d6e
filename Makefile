# The handful of things that one does with Customhouse. Go, gcc, git and make are all that has to be there.

export CGO_ENABLED = 0
version := $(shell git describe --tags --always --dirty 2>/dev/null || echo devel)
build   := go build -trimpath -ldflags "-s -w -X main.version=$(version)"

.PHONY: run build test test-long bench lint

run: build            ## build and serve on 127.0.0.1:5000
	./customhouse serve

build:                ## ./customhouse, one static binary
	$(build) -o customhouse ./cmd/customhouse

test: lint            ## everything that has to pass, with the real clients; installs what it needs
	e2e/install
	CUSTOMHOUSE_REQUIRE_TOOLS=1 go test -count=1 -timeout 20m ./...

test-long: lint       ## the same with helm, cosign, soak, power loss and the race detector
	e2e/install --long
	CUSTOMHOUSE_REQUIRE_TOOLS=1 CUSTOMHOUSE_LONG=1 go test -count=1 -timeout 90m ./...
	CGO_ENABLED=1 go test -race -timeout 60m $$(go list ./... | grep -v -e /e2e -e /bench)

bench:                ## measure beside Debian's docker-registry and print the table
	bench/run

lint:                 ## formatting, vet, staticcheck, pages that are generated
	@test -z "$$(gofmt -l .)" || { echo "not formatted:"; gofmt -l .; exit 1; }
	go vet ./...
	go run honnef.co/go/tools/cmd/staticcheck@v0.8.2 ./...
	@before=$$(cat web/*_templ.go | sha256sum); go run github.com/a-h/templ/cmd/templ@v0.3.977 generate -path web -log-level error && \
	test "$$before" = "$$(cat web/*_templ.go | sha256sum)" || { echo "web: the pages were not generated from their templates; they are now"; exit 1; }
