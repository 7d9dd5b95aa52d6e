package registry

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"customhouse"
	"customhouse/index"
)

// Stored is a manifest that another registry has kept, as far as a registry has to understand it.
type Stored struct {
	customhouse.Descriptor
	Blobs    []customhouse.Descriptor // that it needs
	Children []customhouse.Descriptor // of an index
	Subject  customhouse.Digest       // what it refers to; zero for nothing
	Refused  error                    // what PushManifest would say of its bytes; nil when it would take them
}

// typeSchema1 is of manifests that no push is taken of, and that were common once.
const typeSchema1 = "application/vnd.docker.distribution.manifest.v1+prettyjws"

// ReadStored reads a manifest that another registry has kept under d. What PushManifest would refuse is read as far as it
// goes, for it was taken there and somebody may pull it. The error is for bytes that are no manifest by any reading.
func ReadStored(d customhouse.Digest, body []byte, foreignLayers bool) (Stored, error) {
	s := Stored{Descriptor: customhouse.Descriptor{Digest: d, Size: int64(len(body))}}
	m, refused := parseManifest("", body, foreignLayers)
	var loose looseManifest
	if refused != nil {
		if err := json.Unmarshal(body, &loose); err != nil {
			return s, invalid("%v", err)
		}
		says := loose.MediaType
		loose.guess()
		if says == "" { // OCI manifests need not say what they are: then the client does, or else their fields
			m, refused = parseManifest(loose.MediaType, body, foreignLayers)
		}
	}
	s.Refused = refused
	if refused == nil && len(body) > MaxManifestSize {
		s.Refused = customhouse.Errorf(customhouse.ContentTooLarge, "the manifest is larger than this registry takes")
	}
	if refused == nil {
		s.MediaType, s.ArtifactType, s.Annotations = m.mediaType, m.artifactType, m.annotations
		s.Blobs, s.Children, s.Subject = m.blobs, m.children, m.subject
		return s, nil
	}
	if loose.MediaType == "" {
		return s, invalid("neither its mediaType nor its fields say what it is")
	}
	loose.into(&s)
	return s, nil
}

// looseManifest is what encoding/json makes of a manifest.
type looseManifest struct {
	SchemaVersion int               `json:"schemaVersion"`
	MediaType     string            `json:"mediaType"`
	ArtifactType  string            `json:"artifactType"`
	Annotations   map[string]string `json:"annotations"`
	Config        *looseDescriptor  `json:"config"`
	Layers        []looseDescriptor `json:"layers"`
	Manifests     []looseDescriptor `json:"manifests"`
	Subject       *looseDescriptor  `json:"subject"`
	FSLayers      []struct {
		BlobSum string `json:"blobSum"`
	} `json:"fsLayers"`
}

type looseDescriptor struct {
	MediaType string   `json:"mediaType"`
	Digest    string   `json:"digest"`
	Size      int64    `json:"size"`
	URLs      []string `json:"urls"`
}

// guess sets the media type of a manifest that does not say it.
func (m *looseManifest) guess() {
	switch {
	case m.MediaType != "":
	case m.SchemaVersion == 1:
		m.MediaType = typeSchema1
	case m.Manifests != nil:
		m.MediaType = customhouse.MediaTypeImageIndex
	case m.Config != nil:
		m.MediaType = customhouse.MediaTypeImageManifest
	}
}

// into tells s what could be read. Descriptors without a digest are left out.
func (m *looseManifest) into(s *Stored) {
	s.MediaType, s.ArtifactType, s.Annotations = m.MediaType, m.ArtifactType, m.Annotations
	add := func(list []customhouse.Descriptor, d looseDescriptor) []customhouse.Descriptor {
		digest, err := customhouse.ParseDigest(d.Digest)
		if err != nil || len(d.URLs) > 0 {
			return list
		}
		return append(list, customhouse.Descriptor{MediaType: d.MediaType, Digest: digest, Size: d.Size})
	}
	if m.Config != nil {
		s.Blobs = add(s.Blobs, *m.Config)
		if s.ArtifactType == "" {
			s.ArtifactType = m.Config.MediaType
		}
	}
	for _, d := range m.Layers {
		s.Blobs = add(s.Blobs, d)
	}
	for _, l := range m.FSLayers {
		s.Blobs = add(s.Blobs, looseDescriptor{Digest: l.BlobSum, Size: unknownSize})
	}
	for _, d := range m.Manifests {
		s.Children = add(s.Children, d)
	}
	if m.Subject != nil {
		s.Subject, _ = customhouse.ParseDigest(m.Subject.Digest) // zero where it is none
	}
}

// unknownSize is the size of a blob that a manifest names without it.
const unknownSize = -1

// Adoption is content of one repository that lies in the store, such as in a folder of another registry.
type Adoption struct {
	Blobs     []customhouse.Descriptor // digest and size
	Manifests []Stored
	Created   []time.Time // of Manifests, each
	Tags      []TagSet    // what tags point to, unless they were set later here
	History   []TagSet    // what they have pointed to
}

// TagSet is a tag that was set to a manifest at a time.
type TagSet = index.TagAt

// Adopt makes content visible in the repository that lies in the store and was verified there. It is not durable before
// SyncAdopted.
func (p Repository) Adopt(ctx context.Context, a Adoption) error {
	l := index.Load{Blobs: a.Blobs, Tags: a.Tags, History: a.History, Manifests: make([]index.Loaded, len(a.Manifests))}
	for i, m := range a.Manifests {
		l.Manifests[i] = index.Loaded{
			Manifest: index.Manifest{Descriptor: m.Descriptor, Subject: m.Subject}, Names: namesOf(m.Blobs, m.Children), Created: a.Created[i],
		}
	}
	return p.r.index.Load(ctx, p.name, l)
}

// BeginAdopting lets content be read from the folder source from now on.
func (r *Registry) BeginAdopting(ctx context.Context, source string) error {
	return r.index.AddAdopted(ctx, source)
}

// Adopted returns what MarkAdopted was told last of a repository in the folder source: depth -1 for nothing yet.
func (r *Registry) Adopted(ctx context.Context, source, repo string) (depth int, links []byte, err error) {
	depth, links, err = r.index.AdoptedRepo(ctx, source, repo)
	if errors.Is(err, customhouse.ErrNotFound) {
		return -1, nil, nil
	}
	return depth, links, err
}

// AdoptedRepos returns the repositories in the folder source of which MarkAdopted was told.
func (r *Registry) AdoptedRepos(ctx context.Context, source string) (map[string]bool, error) {
	return r.index.AdoptedRepos(ctx, source)
}

// MarkAdopted remembers which links of a repository in the folder source have been taken over, at which depth of
// verification.
func (r *Registry) MarkAdopted(ctx context.Context, source, repo string, depth int, links []byte) error {
	return r.index.MarkAdopted(ctx, source, repo, depth, links)
}

// SyncAdopted makes all that was adopted before survive a loss of power.
func (r *Registry) SyncAdopted(ctx context.Context) error { return r.index.Sync(ctx) }
