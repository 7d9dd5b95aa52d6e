package server

import (
	"fmt"
	"net/http"

	"customhouse"
	"customhouse/gate"
	"customhouse/registry"
)

// operation is what a request under /v2/ wants done.
type operation int

const (
	opNone operation = iota
	opBase
	opCatalog
	opTags
	opReferrers
	opGetManifest
	opPutManifest
	opDeleteManifest
	opGetBlob
	opDeleteBlob
	opBeginUpload
	opGetUpload
	opPatchUpload
	opPutUpload
	opCancelUpload
	opCount
)

// route is an operation's name, what it needs and who does it.
type route struct {
	name    string
	handler string               // its family in metrics, by the name that distribution has for it
	needs   []customhouse.Action // on the repository
	base    bool                 // needs somebody, but nothing of them
	list    bool                 // needs the catalog, or shows of it what the caller may see
	writes  bool                 // changes something
	serve   func(*state, http.ResponseWriter, *http.Request, admitted) error
}

// admitted is a request that the gate has let pass: the one way to a repository's content.
type admitted struct {
	request
	grant gate.Grant
	repo  registry.Repository
}

var (
	pull   = []customhouse.Action{customhouse.Pull}
	push   = []customhouse.Action{customhouse.Pull, customhouse.Push}
	remove = []customhouse.Action{customhouse.Delete}
)

// routes is the one table of what can be done and what it takes.
var routes = [opCount]route{
	opBase:           {name: "base", handler: "base", base: true, serve: base},
	opCatalog:        {name: "catalog", handler: "catalog", list: true, serve: catalog},
	opTags:           {name: "tags", handler: "tags", needs: pull, serve: tags},
	opReferrers:      {name: "referrers", handler: "referrers", needs: pull, serve: referrers},
	opGetManifest:    {name: "get manifest", handler: "manifest", needs: pull, serve: getManifest},
	opPutManifest:    {name: "put manifest", handler: "manifest", needs: push, writes: true, serve: putManifest},
	opDeleteManifest: {name: "delete manifest", handler: "manifest", needs: remove, writes: true, serve: deleteManifest},
	opGetBlob:        {name: "get blob", handler: "blob", needs: pull, serve: getBlob},
	opDeleteBlob:     {name: "delete blob", handler: "blob", needs: remove, writes: true, serve: deleteBlob},
	opBeginUpload:    {name: "begin upload", handler: "blob_upload", needs: push, writes: true, serve: beginUpload},
	opGetUpload:      {name: "get upload", handler: "blob_upload_chunk", needs: push, serve: getUpload},
	opPatchUpload:    {name: "patch upload", handler: "blob_upload_chunk", needs: push, writes: true, serve: patchUpload},
	opPutUpload:      {name: "put upload", handler: "blob_upload_chunk", needs: push, writes: true, serve: putUpload},
	opCancelUpload:   {name: "cancel upload", handler: "blob_upload_chunk", needs: push, writes: true, serve: cancelUpload},
}

// checkRoutes refuses to start with a route that nobody guards.
func checkRoutes() error {
	for op := opNone + 1; op < opCount; op++ {
		if r := routes[op]; r.serve == nil || r.needs == nil && !r.base && !r.list {
			return fmt.Errorf("operation %d (%s) has no handler or no access rule", op, r.name)
		}
	}
	return nil
}

// needs is the tie between an operation and a permission.
func (q request) needs() []gate.Need {
	switch r := routes[q.op]; {
	case r.base:
		return nil
	case r.list:
		return []gate.Need{{Access: customhouse.Access{Type: customhouse.TypeRegistry, Name: customhouse.Catalog, Actions: []customhouse.Action{customhouse.All}}}}
	default:
		return []gate.Need{on(q.repo, r.needs...)}
	}
}

// on is the need to do something in a repository.
func on(repo customhouse.Repo, actions ...customhouse.Action) gate.Need {
	return gate.Need{Access: customhouse.Access{Type: customhouse.TypeRepository, Name: repo.String(), Actions: actions}}
}
