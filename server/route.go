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
	byTag   bool                 // is about the tag in its path, if there is one
	partly  bool                 // may be let through for a part of what it needs: content.go and change.go ask about each thing
	writes  bool                 // changes something
	serve   func(*state, http.ResponseWriter, *http.Request, admitted) error
}

// admitted is a request that the gate has let pass: the one way to a repository's content.
type admitted struct {
	request
	grant gate.Grant
	repo  registry.Repository // all of it: content.go tells what of it the caller may reach
}

var (
	pull   = []customhouse.Action{customhouse.Pull}
	list   = []customhouse.Action{customhouse.List}
	push   = []customhouse.Action{customhouse.Pull, customhouse.Push}
	remove = []customhouse.Action{customhouse.Delete}
)

// routes is the one table of what can be done and what it takes.
var routes = [opCount]route{
	opBase:           {name: "base", handler: "base", base: true, serve: base},
	opCatalog:        {name: "catalog", handler: "catalog", list: true, serve: catalog},
	opTags:           {name: "tags", handler: "tags", needs: list, partly: true, serve: tags},
	opReferrers:      {name: "referrers", handler: "referrers", needs: pull, partly: true, serve: referrers},
	opGetManifest:    {name: "get manifest", handler: "manifest", needs: pull, byTag: true, partly: true, serve: getManifest},
	opPutManifest:    {name: "put manifest", handler: "manifest", needs: push, partly: true, writes: true, serve: putManifest},
	opDeleteManifest: {name: "delete manifest", handler: "manifest", needs: remove, byTag: true, partly: true, writes: true, serve: deleteManifest},
	opGetBlob:        {name: "get blob", handler: "blob", needs: pull, partly: true, serve: getBlob},
	opDeleteBlob:     {name: "delete blob", handler: "blob", needs: remove, partly: true, writes: true, serve: deleteBlob},
	opBeginUpload:    {name: "begin upload", handler: "blob_upload", needs: push, partly: true, writes: true, serve: beginUpload},
	opGetUpload:      {name: "get upload", handler: "blob_upload_chunk", needs: push, partly: true, serve: getUpload},
	opPatchUpload:    {name: "patch upload", handler: "blob_upload_chunk", needs: push, partly: true, writes: true, serve: patchUpload},
	opPutUpload:      {name: "put upload", handler: "blob_upload_chunk", needs: push, partly: true, writes: true, serve: putUpload},
	opCancelUpload:   {name: "cancel upload", handler: "blob_upload_chunk", needs: push, partly: true, writes: true, serve: cancelUpload},
}

// pullFrom is the need to pull from a repository of which a blob is mounted.
func pullFrom(repo customhouse.Repo) gate.Need {
	need := on(repo, pull...)
	need.Partly = true
	return need
}

// checkRoutes refuses to start with a route that nobody guards.
func checkRoutes() error {
	for op := opNone + 1; op < opCount; op++ {
		r := routes[op]
		if r.serve == nil || r.needs == nil && !r.base && !r.list {
			return fmt.Errorf("operation %d (%s) has no handler or no access rule", op, r.name)
		}
		if r.partly && r.needs == nil {
			return fmt.Errorf("operation %d (%s) is let through for a part of nothing", op, r.name)
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
		need := on(q.repo, r.needs...)
		if need.Partly = r.partly; r.byTag && !q.ref.Tag.IsZero() {
			need.Target = gate.Target{Known: gate.FactTag, Tag: q.ref.Tag.String()}
		}
		return []gate.Need{need}
	}
}

// on is the need to do something in a repository.
func on(repo customhouse.Repo, actions ...customhouse.Action) gate.Need {
	return gate.Need{Access: customhouse.Access{Type: customhouse.TypeRepository, Name: repo.String(), Actions: actions}}
}
