package main

import "context"

// scenario is one row of the table.
type scenario struct {
	name    string // as -scenarios takes it
	title   string // %tags and %repos stand for how many there are
	unit    unit
	clients int
	pinned  bool    // the server on one core, the client on another; else both on all
	settle  bool    // see load
	tokens  bool    // asks the token endpoint: only for a registry that has one
	needs   dataset // what has to be there
	note    string  // what the reader must know

	prepare workload
}

// workload gets a new token and returns what the clients do.
type workload func(ctx context.Context, t *target) (work, error)

// work is what the clients do, and what proves beforehand that the server does it right.
type work struct {
	op     operation
	verify func(context.Context) error
}

// unit is what a scenario counts.
type unit string

const (
	perSecond unit = "/s"
	megabytes unit = "MB/s" // of 10^6 bytes
)

// scenarios lists all, in the order of the table.
func scenarios() []scenario {
	return []scenario{
		{name: "blob-get-4k", title: "blob GET 4 KiB", unit: perSecond, clients: 8, pinned: true, needs: blobs, prepare: getBlobs(4<<10, smallBlobs)},
		{name: "blob-get-1m", title: "blob GET 1 MiB", unit: megabytes, clients: 8, pinned: true, needs: blobs, prepare: getBlobs(1<<20, middleBlobs)},
		{name: "blob-get-100m", title: "blob GET %large", unit: megabytes, clients: 64, pinned: true, needs: blobs, prepare: getLarge},
		{name: "blob-get-100m-c8", title: "blob GET %large", unit: megabytes, clients: 8, pinned: true, needs: blobs, prepare: getLarge},
		{name: "blob-head", title: "blob HEAD", unit: perSecond, clients: 8, pinned: true, needs: blobs, prepare: headBlobs},
		{name: "manifest-get", title: "manifest GET by tag", unit: perSecond, clients: 8, pinned: true, needs: images, prepare: manifests("GET", repoImage, imageTags)},
		{name: "manifest-head", title: "manifest HEAD by tag", unit: perSecond, clients: 8, pinned: true, needs: images, prepare: manifests("HEAD", repoImage, imageTags)},
		{name: "manifest-get-tags", title: "manifest GET, repository of %tags tags", unit: perSecond, clients: 8, pinned: true, needs: tags, prepare: manifests("GET", repoTags, 0)},
		{name: "tags-page", title: "tags, page of 100 of %tags", unit: perSecond, clients: 8, pinned: true, needs: tags, prepare: tagPages,
			note: "docker-registry 2.8 ignores `n` and `last` of a tag list and always sends all tags"},
		{name: "tags-all", title: "tags, all %tags", unit: perSecond, clients: 8, pinned: true, needs: tags, prepare: allTags},
		{name: "catalog-page", title: "catalog, page of 100 of %repos", unit: perSecond, clients: 8, pinned: true, needs: repos, prepare: catalogPages},
		{name: "token-anonymous", title: "token, anonymous", unit: perSecond, clients: 8, pinned: true, tokens: true, prepare: issueTokens(false)},
		{name: "token-password", title: "token, repeated login", unit: perSecond, clients: 8, pinned: true, tokens: true, prepare: issueTokens(true)},
		{name: "blob-push-4k", title: "blob push 4 KiB", unit: perSecond, clients: 8, settle: true, prepare: pushBlobs(func(*target) int64 { return 4 << 10 })},
		{name: "blob-push-1m", title: "blob push 1 MiB", unit: megabytes, clients: 8, settle: true, prepare: pushBlobs(func(*target) int64 { return 1 << 20 })},
		{name: "blob-push-100m", title: "blob push %large", unit: megabytes, clients: 8, settle: true, prepare: pushBlobs(func(t *target) int64 { return t.size.large })},
		{name: "image-push", title: "image push, 10 x 1 MiB", unit: perSecond, clients: 8, settle: true, prepare: pushImages},
		{name: "image-pull", title: "image pull, 10 x 1 MiB", unit: perSecond, clients: 8, needs: images, prepare: pullImages},
	}
}
